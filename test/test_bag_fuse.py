"""sage-fusion bag fuse: every pair, the node's messages, the same bytes every time."""

import json

import numpy as np
import pytest
import yaml
from bag_files import START, assert_equal, contents, pixels_of, read_messages, record, run, stamp_of, topics_of
from message_packages import messages_of
from mock_models import make_model
from mock_perception import make_perception
from source_files import rgb_image, thermal_image, write_bag

from sage_fusion_ros.bags.pairs import pair_bag
from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline, Wants
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.pairing import PairingSettings
from sage_fusion_ros.pipeline.perceive import PerceptionChoice, load_perceiver
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Frame, FramePair
from sage_fusion_ros.sources.bag import BagSource

pytest.importorskip("rosbags")
OUT = "/fusion_node/output"
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Arguments that choose small models."""
    root = tmp_path_factory.mktemp("models")
    make_model(root / "brighter", "Max")
    make_perception(root / "looker", input_side=64)
    words = {"fusion.model": "brighter", "perception.model": "looker", "models.path": [str(root)], "engine.threads": 1}
    return [word for name, value in words.items() for word in ("--set", f"{name}:={json.dumps(value)}")]


@pytest.fixture
def bag(tmp_path):
    return record(tmp_path / "bag")


def fuse(bag, output, models, *words):
    return run("fuse", bag, "--output", output, *models, *words)


def report_of(bag):
    return json.loads((bag / "report.json").read_text())


def model_of(models, name):
    values = dict(word.split(":=", 1) for word in models if ":=" in word)
    return yaml.safe_load(values[name])


def test_every_pair_is_fused_under_the_headers_the_node_gives(bag, tmp_path, models):
    assert fuse(bag, tmp_path / "out", models) == 0
    fused = tmp_path / "out/bag"
    assert topics_of(fused) == {
        f"{OUT}/fused": 24,
        f"{OUT}/mask": 24,
        f"{OUT}/mask/label_info": 1,
        f"{OUT}/detections": 24,
        f"{OUT}/detections/label_info": 1,
        "/fusion_node/debug/pair_stamps": 24,
    }
    source = BagSource(bag)
    for kind in ("fused", "mask", "detections"):
        found = read_messages(fused, f"{OUT}/{kind}")
        assert [stamp_of(message) for _, _, message in found] == source.camera_stamps("rgb")
        assert {message.header.frame_id for _, _, message in found} == {"camera"}
        # Received as the later of the two images was.
        assert [time for _, time, _ in found] == [stamp + 5_000_000 for stamp in source.camera_stamps("thermal")]
    for index, (_, _, pair) in enumerate(read_messages(fused, "/fusion_node/debug/pair_stamps")):
        assert stamp_of(pair) == source.camera_stamps("rgb")[index]
        assert pair.time_ref.sec * SECOND + pair.time_ref.nanosec == source.camera_stamps("thermal")[index]
    source.close()


def test_a_pairs_messages_are_those_of_the_nodes_builders(bag, tmp_path, models):
    std_msgs = pytest.importorskip("std_msgs.msg")
    from sage_fusion_ros.bags.typestore import DETECTIONS, IMAGE
    from sage_fusion_ros.nodes.detection_outputs import BoxMessages
    from sage_fusion_ros.nodes.messages import image_message, ns_to_stamp

    assert fuse(bag, tmp_path / "out", models, "--outputs", "fused", "mask", "detections", "overlay") == 0
    places = model_of(models, "models.path")
    pipeline = FusionPipeline(
        load_fuser("brighter", NetworkOptions(models_path=places, threads=1)),
        ThermalNormaliser(),
        perceiver=load_perceiver(PerceptionChoice("looker"), NetworkOptions(models_path=places, threads=1)),
    )
    for index in range(8):
        pair = FramePair(
            Frame(START + index, "camera", rgb_image(index)),
            Frame(START + index * 33_333_333 + 4_000_000, "camera", thermal_image(index, np.uint16)),
        )
        result = pipeline.process(pair, Wants(fused=True, mask=True, detections=True))
    header = std_msgs.Header(stamp=ns_to_stamp(START + 7 * 33_333_333), frame_id="camera")
    messages = {kind: read_messages(tmp_path / "out/bag", f"{OUT}/{kind}")[7][2]
                for kind in ("fused", "mask", "detections", "overlay")}  # fmt: skip
    assert_equal(messages["fused"], image_message(result.fused, header), IMAGE)
    assert_equal(messages["mask"], image_message(result.mask, header), IMAGE)
    vision = messages_of("vision_msgs")
    array = BoxMessages(vision).array(result.detections, result.detection_classes, header, True)
    assert_equal(messages["detections"], array, DETECTIONS)
    assert np.ptp(result.fused) > 0
    assert (messages["overlay"].height, messages["overlay"].encoding) == (48, "rgb8")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_same_bag_gives_the_same_bytes(bag, tmp_path, models, storage):
    for name in ("a", "b"):
        assert fuse(bag, tmp_path / name, models, "--storage", storage, "--file-mb", 0.05) == 0
    first = contents(tmp_path / "a/bag")
    assert first == contents(tmp_path / "b/bag")
    assert len(first) > 3, "several files and metadata.yaml"


def test_a_bag_of_several_files_reads_as_one(bag, tmp_path, models):
    assert fuse(bag, tmp_path / "one", models) == 0
    assert fuse(bag, tmp_path / "many", models, "--file-mb", 0.05) == 0

    def stamps(name):
        return [(topic, time, stamp_of(message)) for topic, time, message in read_messages(tmp_path / name / "bag")]

    assert sorted(stamps("many")) == sorted(stamps("one"))
    metadata = [
        yaml.safe_load((tmp_path / name / "bag/metadata.yaml").read_text())["rosbag2_bagfile_information"]
        for name in ("one", "many")
    ]
    for key in ("message_count", "duration", "starting_time"):
        assert metadata[0][key] == metadata[1][key]


def test_compressed_and_raw_cameras_fuse_alike(tmp_path, models):
    record(tmp_path / "raw/bag")
    record(tmp_path / "packed/bag", compressed=True)  # RGB in PNG, which loses nothing
    for name in ("raw", "packed"):
        assert fuse(tmp_path / name / "bag", tmp_path / f"{name}_out", models) == 0
    images = [[pixels_of(m) for _, _, m in read_messages(tmp_path / f"{name}_out/bag", f"{OUT}/fused")]
              for name in ("raw", "packed")]  # fmt: skip
    assert len(images[0]) == 24
    assert np.array_equal(*images)


def test_outputs_can_be_compressed_and_chosen(bag, tmp_path, models):
    assert (
        fuse(bag, tmp_path / "out", models, "--images", "compressed", "--outputs", "mask", "--node-name", "/a/b") == 0
    )
    assert set(topics_of(tmp_path / "out/bag")) == {
        "/a/b/output/mask/compressed", "/a/b/output/mask/label_info", "/a/b/debug/pair_stamps",
    }  # fmt: skip
    _, _, message = read_messages(tmp_path / "out/bag", "/a/b/output/mask/compressed")[0]
    assert message.format == "mono8; png compressed "


def test_the_quality_is_the_nodes_parameter(bag, tmp_path, models):
    sizes = []
    for quality in (5, 95):
        words = ("--images", "compressed", "--outputs", "fused", "--set", f"output.jpeg_quality:={quality}")
        assert fuse(bag, tmp_path / f"{quality}", models, *words) == 0
        sizes.append(len(read_messages(tmp_path / f"{quality}/bag", f"{OUT}/fused/compressed")[0][2].data))
    assert sizes[0] < sizes[1]


def test_label_infos_are_latched_and_name_the_classes(bag, tmp_path, models):
    from rosbags.interfaces import QosDurability
    from rosbags.rosbag2 import Reader

    assert fuse(bag, tmp_path / "out", models, "--set", "detection.score_threshold:=0.25") == 0
    with Reader(tmp_path / "out/bag") as reader:
        latched = {c.topic for c in reader.connections
                   if c.ext.offered_qos_profiles[0].durability == QosDurability.TRANSIENT_LOCAL}  # fmt: skip
    assert latched == {f"{OUT}/mask/label_info", f"{OUT}/detections/label_info"}
    ((_, _, info),) = read_messages(tmp_path / "out/bag", f"{OUT}/detections/label_info")
    assert info.class_map[0].class_name == "person"
    assert info.threshold == 0.25


def test_a_model_without_perception_gives_the_fused_image_alone(bag, tmp_path, models):
    assert fuse(bag, tmp_path / "out", models, "--set", "perception.model:=") == 0
    assert set(topics_of(tmp_path / "out/bag")) == {f"{OUT}/fused", "/fusion_node/debug/pair_stamps"}
    assert fuse(bag, tmp_path / "none", models, "--set", "perception.model:=", "--outputs", "mask") == 2
    assert not list((tmp_path / "none").iterdir())


def test_the_calibration_goes_out_under_the_fused_images_header(tmp_path, models):
    assert run("make", "synthetic:day", "--duration", 0.2, "--output", tmp_path / "street") == 0
    assert fuse(tmp_path / "street", tmp_path / "out", models) == 0
    infos = [info for _, _, info in read_messages(tmp_path / "out/street", f"{OUT}/camera_info")]
    images = [image for _, _, image in read_messages(tmp_path / "out/street", f"{OUT}/fused")]
    assert len(infos) == len(images) == 6
    for info, image in zip(infos, images, strict=True):
        assert (info.header, info.width, info.height) == (image.header, image.width, image.height)
        assert info.k[0] > 0


def test_two_lenses_come_from_the_bag_and_how_they_stand_from_a_file(tmp_path, models, capsys):
    from sage_fusion_ros.pipeline.pixel_maps import Extrinsics
    from sage_fusion_ros.sources.calibration_file import Calibration, write_calibration

    assert run("make", "synthetic:day", "--duration", 0.1, "--output", tmp_path / "street") == 0
    write_calibration(
        tmp_path / "stand.yaml", Calibration(extrinsics=Extrinsics((1, 0, 0, 0, 1, 0, 0, 0, 1), (3.0, 0, 0)))
    )
    words = ("--outputs", "fused", "thermal_valid", "--set", "registration.method:=calibrated")
    file = ("--set", f"registration.file:={tmp_path / 'stand.yaml'}")
    assert fuse(tmp_path / "street", tmp_path / "out", models, *words, *file) == 0
    shares = [pixels_of(m).mean() / 255 for _, _, m in read_messages(tmp_path / "out/street", f"{OUT}/thermal_valid")]
    assert len(shares) == 3
    assert all(0.3 < share < 0.95 for share in shares), "3 m aside at 20 m a part is out of sight"
    job = report_of(tmp_path / "out/street")["job"]["registration"]
    assert (job["method"], len(job["file"])) == ("calibrated", 64)
    capsys.readouterr()
    assert fuse(tmp_path / "street", tmp_path / "no_file", models, *words) == 2
    assert "needs registration.file" in capsys.readouterr().err
    (tmp_path / "none.yaml").write_text((tmp_path / "stand.yaml").read_text().partition("extrinsics")[0])
    file = ("--set", f"registration.file:={tmp_path / 'none.yaml'}")
    assert fuse(tmp_path / "street", tmp_path / "no_stand", models, *words, *file) == 2
    assert "TF is not read from bags" in capsys.readouterr().err
    assert fuse(record(tmp_path / "bag", 3), tmp_path / "no_lens", models, *words, *file) == 2
    assert "no usable CameraInfo beside /camera/image_raw: there is none" in capsys.readouterr().err


def test_frames_without_a_partner_are_counted_and_the_pairs_are_the_nearest(tmp_path, models):
    rgb = [START + index * 33_333_333 for index in range(60)]
    thermal = [START + 3_000_000 + index * 111_111_111 for index in range(18)]
    bag = write_bag(tmp_path / "bag", "mcap", rgb, thermal)
    assert fuse(bag, tmp_path / "out", models) == 0
    expected = [(min(rgb, key=lambda stamp: abs(stamp - warm)), warm) for warm in thermal]
    found = [(stamp_of(m), m.time_ref.sec * SECOND + m.time_ref.nanosec)
             for _, _, m in read_messages(tmp_path / "out/bag", "/fusion_node/debug/pair_stamps")]  # fmt: skip
    assert found == expected
    report = report_of(tmp_path / "out/bag")
    assert report["# of Frames Sent"] == 60
    assert report["# of Missed Frames"] == 42
    assert report["frames"]["rgb"] == {"in": 60, "without a pair": {"no partner": 42}}
    assert report["frames"]["thermal"] == {"in": 18, "without a pair": {}}


def test_a_recorded_loop_mixes_nothing(tmp_path):
    """Two laps of the same stamps in one recording."""
    from rosbags.rosbag2 import Reader, StoragePlugin, Writer

    from sage_fusion_ros.bags.typestore import typestore

    lap = record(tmp_path / "lap", pairs=30)
    length = 2 * SECOND
    with Reader(lap) as reader, Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kinds = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=typestore()) for c in reader.connections}
        for number in range(2):
            for connection, time, data in reader.messages():
                writer.write(kinds[connection.topic], time + number * length, data)
    source = BagSource(tmp_path / "bag")
    found = pair_bag(source, PairingSettings(hold_ns=SECOND))
    assert [(m.rgb.payload, m.thermal.payload) for m in found.matches] == [(i, i) for i in range(60)]
    assert found.jumps == 1
    source.close()


def test_late_recording_costs_no_pair(tmp_path, models):
    """The thermal images were recorded 600 ms after their stamps, which a live node would not wait for."""
    rgb = [START + index * 33_333_333 for index in range(40)]
    bag = write_bag(tmp_path / "bag", "sqlite3", rgb, rgb)
    import sqlite3

    with sqlite3.connect(next(bag.glob("*.db3"))) as connection:
        connection.execute("UPDATE messages SET timestamp = timestamp + 600000000 WHERE topic_id = 2")
    connection.close()
    assert fuse(bag, tmp_path / "out", models) == 0
    assert topics_of(tmp_path / "out/bag")[f"{OUT}/fused"] == 40
    assert fuse(bag, tmp_path / "live", models, "--set", "pairing.hold_ms:=100") == 2


def test_a_broken_message_is_left_out_by_name(tmp_path, models, capsys):
    bag = record(tmp_path / "bag", storage="sqlite3", pairs=6)
    import sqlite3

    with sqlite3.connect(next(bag.glob("*.db3"))) as connection:
        ((row, data),) = connection.execute(
            "SELECT id, data FROM messages WHERE topic_id = 1 ORDER BY timestamp LIMIT 1 OFFSET 2"
        ).fetchall()
        connection.execute("UPDATE messages SET data = ? WHERE id = ?", (data.replace(b"rgb8", b"rgb9"), row))
    connection.close()
    assert fuse(bag, tmp_path / "out", models) == 1
    assert topics_of(tmp_path / "out/bag")[f"{OUT}/fused"] == 5
    report = report_of(tmp_path / "out/bag")
    assert report["pairs"] == {"found": 6, "fused": 5, "skipped": 1}
    assert "encoding 'rgb9' is not supported" in report["skipped"][0]["reason"]
    assert "skipped pair 2, stamp" in capsys.readouterr().err


def test_the_report_has_the_names_of_ros2_benchmark(bag, tmp_path, models):
    assert fuse(bag, tmp_path / "out", models) == 0
    report = report_of(tmp_path / "out/bag")
    assert set(report) >= {
        "metadata", "# of Frames Sent", "# of Missed Frames", "Mean Playback Frame Rate (fps)", "Mean Frame Rate (fps)",
        "Delta between First & Last Received Frames (ms)", "Max. Frame-to-Frame Jitter (ms)",
        "Min. Frame-to-Frame Jitter (ms)", "Mean Frame-to-Frame Jitter (ms)",
        "Frame-to-Frame Jitter Std. Deviation (ms)",
    }  # fmt: skip
    assert set(report["metadata"]) >= {"Test Name", "Device Architecture", "Device OS", "Input Data Hash"}
    assert report["Mean Playback Frame Rate (fps)"] == pytest.approx(24 / (23 * 33_333_333e-9), abs=1e-3)
    assert report["networks"] == {"brighter": "CPUExecutionProvider", "looker": "CPUExecutionProvider"}
    assert set(report["stages_ms"]) >= {"normalise", "register", "fuse", "perceive"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--rgb-topic", "/nope"), "has no images on topic '/nope'; its image topics are: /camera/image_raw (rgb8)"),
        (("--set", "pairing.thermal_offset_ms:=16"), None),
        (("--set", "pairing.thermal_offset_ms:=5000"), "has a partner on /flir/image_raw within 20 ms"),
        (("--set", "fusion.model:=nobody"), "nobody"),
    ],
)
def test_what_cannot_be_fused_is_said_and_leaves_nothing(bag, tmp_path, models, capsys, words, text):
    code = fuse(bag, tmp_path / "out", models, *words)
    if text is None:
        assert code == 0
        return
    assert code == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out/bag").exists()
    assert not list((tmp_path / "out").glob(".*"))


def test_damaged_bags_are_named_and_the_others_are_fused(tmp_path, models, capsys):
    good, bad, gone = record(tmp_path / "good"), record(tmp_path / "bad"), tmp_path / "gone"
    file = next(bad.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-3000])
    assert run("fuse", bad, gone, good, "--output", tmp_path / "out", *models) == 2
    captured = capsys.readouterr()
    assert f"failed {bad}: '{bad}' can't be opened as a rosbag2" in captured.err
    assert f"failed {gone}: '{gone}' does not exist" in captured.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["good"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--set", "fusion.modle:=sage"), "fusion.modle"),
        (("--set", "detection.score_threshold:=3"), "detection.score_threshold"),
        (("--set", "fusion.model"), "expected NAME:=VALUE"),
        (("--set", "pairing.method:=message_filters"), "has to be 'nearest' offline"),
        (("--processes", "0"), "--processes and --file-mb"),
        (("--node-name", "node"), "--node-name is 'node'"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(bag, tmp_path, models, words, text):
    with pytest.raises(ParameterError, match=text):
        fuse(bag, tmp_path / "out", models, *words)
    assert not (tmp_path / "out").exists()


def test_two_bags_of_one_name_are_refused(bag, tmp_path, models):
    other = record(tmp_path / "elsewhere/bag")
    with pytest.raises(ParameterError, match="would both become"):
        run("fuse", bag, other, "--output", tmp_path / "out", *models)


def test_the_nodes_own_parameter_file_serves(bag, tmp_path, models, project):
    words = ("--params-file", project / "config/fusion.param.yaml")
    assert fuse(bag, tmp_path / "out", models, *words) == 0
    assert report_of(tmp_path / "out/bag")["job"]["pairing"]["hold_ns"] == 100_000_000
    empty = tmp_path / "empty.yaml"
    empty.write_text("other_node:\n  ros__parameters: {}\n")
    with pytest.raises(ParameterError, match="has no parameters for fusion_node"):
        fuse(bag, tmp_path / "more", models, "--params-file", empty)


def test_where_models_lie_decides_no_byte(bag, tmp_path, models, monkeypatch):
    import shutil

    places = model_of(models, "models.path")
    shutil.copytree(places[0], tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert fuse(bag, tmp_path / "a", models) == 0
    own = ["--set", "fusion.model:=elsewhere/brighter", "--set", "perception.model:=./elsewhere/looker",
           "--set", "engine.threads:=1"]  # fmt: skip
    assert fuse(bag, tmp_path / "b", own) == 0
    assert contents(tmp_path / "a/bag") == contents(tmp_path / "b/bag")


def test_a_foreign_bag_in_the_place_is_not_overwritten(bag, tmp_path, models, capsys):
    (tmp_path / "out/bag").mkdir(parents=True)
    assert fuse(bag, tmp_path / "out", models) == 2
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert not list((tmp_path / "out/bag").iterdir())
