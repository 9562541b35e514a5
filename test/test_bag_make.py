"""sage-fusion bag make: what stands in the bag, and that there is a whole bag or none."""

import csv
import os
import signal
import time

import cv2
import numpy as np
import pytest
import yaml
from bag_files import command, contents, pixels_of, read_messages, run, stamp_of, start, topics_of
from source_files import rgb_image, shown_index, thermal_image, write_pair, write_video

from sage_fusion_ros.bags.make import DEFAULT_TOPICS, MakeSettings, make_bag
from sage_fusion_ros.cli.bag_make import read_time
from sage_fusion_ros.errors import ImageFormatError, ParameterError, SourceError
from sage_fusion_ros.sources.folder import FolderSource
from sage_fusion_ros.sources.open import open_source

pytest.importorskip("rosbags")
RGB, THERMAL = "/fusion_node/input/rgb", "/fusion_node/input/thermal"
SECOND = 1_000_000_000


@pytest.fixture
def folder(tmp_path):
    for index in range(1, 6):
        write_pair(tmp_path / "set", f"{index:03d}", index=index)
    return tmp_path / "set"


def metadata(bag):
    return yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_folder_becomes_a_bag_of_the_same_pixels(folder, tmp_path, storage, capsys):
    assert run("make", folder, "--output", tmp_path / "bag", "--storage", storage) == 0
    assert "5 pairs" in capsys.readouterr().out
    assert topics_of(tmp_path / "bag") == {RGB: 5, THERMAL: 5, f"{RGB}_camera_info": 5, f"{THERMAL}_camera_info": 5}
    for number, (_, received, message) in enumerate(read_messages(tmp_path / "bag", RGB)):
        assert stamp_of(message) == received == SECOND + number * SECOND // 10
        assert message.header.frame_id == "rgb_camera"
        assert (pixels_of(message) == rgb_image(number + 1)).all()
    for number, (_, _, message) in enumerate(read_messages(tmp_path / "bag", THERMAL)):
        assert stamp_of(message) == SECOND + number * SECOND // 10
        assert (pixels_of(message) == thermal_image(number + 1)).all()
    for camera in (RGB, THERMAL):
        for _, _, info in read_messages(tmp_path / "bag", f"{camera}_camera_info"):
            assert (info.width, info.height, info.distortion_model) == (64, 48, "")
            assert not info.k.any(), "uncalibrated, by the message's own convention"
    assert len(open_source(tmp_path / "bag")) == 5


@pytest.mark.parametrize(
    ("rgb", "thermal", "prefix"),
    [("visible/train", "infrared/train", ""), ("Vis", "Ir", ""), ("vi", "ir", "test/"),
     ("crop_LR_visible", "cropinfrared", "")],
    ids=["LLVIP", "M3FD", "MSRS", "RoadScene"],
)  # fmt: skip
def test_the_layouts_of_public_sets(tmp_path, rgb, thermal, prefix):
    for index in (1, 2):
        write_pair(tmp_path / "set" / prefix, f"{index}", rgb, thermal, index)
    assert run("make", tmp_path / "set", "--output", tmp_path / "bag", "--rate", 4) == 0
    with (tmp_path / "bag" / "pairs.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["rgb_stamp_ns"]) for row in rows] == [SECOND, SECOND * 5 // 4]
    assert [row["name"].rpartition("/")[2] for row in rows] == ["1", "2"]
    for index, (_, _, message) in enumerate(read_messages(tmp_path / "bag", RGB)):
        assert (pixels_of(message) == rgb_image(index + 1)).all()


def test_compressed_images_keep_sixteen_bits_and_say_what_they_are(tmp_path):
    thermal = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    write_pair(tmp_path / "set", "1")
    assert cv2.imwrite(str(tmp_path / "set/thermal/1.png"), thermal)
    assert run("make", tmp_path / "set", "--output", tmp_path / "bag", "--images", "compressed") == 0
    ((_, _, rgb),) = read_messages(tmp_path / "bag", f"{RGB}/compressed")
    ((_, _, warm),) = read_messages(tmp_path / "bag", f"{THERMAL}/compressed")
    assert (rgb.format, warm.format) == ("rgb8; jpeg compressed bgr8", "mono16; png compressed ")
    assert (cv2.imdecode(warm.data, cv2.IMREAD_UNCHANGED) == thermal).all()
    assert abs(cv2.imdecode(rgb.data, cv2.IMREAD_COLOR)[..., ::-1].astype(int) - rgb_image(1)).max() <= 3
    source = open_source(tmp_path / "bag")
    assert (source.read(0).thermal == thermal).all()
    source.close()


def test_float_thermal_images_stay_raw(tmp_path):
    write_pair(tmp_path / "set", "1")
    (tmp_path / "set/thermal/1.png").unlink()
    kelvin = np.linspace(250, 350, 48 * 64, dtype=np.float32).reshape(48, 64)
    assert cv2.imwrite(str(tmp_path / "set/thermal/1.tiff"), kelvin)
    with pytest.raises(ImageFormatError, match="pair 0, thermal: .* raw images"):
        run("make", tmp_path / "set", "--output", tmp_path / "bag", "--images", "compressed")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]
    assert run("make", tmp_path / "set", "--output", tmp_path / "bag") == 0
    ((_, _, message),) = read_messages(tmp_path / "bag", THERMAL)
    assert message.encoding == "32FC1"
    assert (pixels_of(message) == kelvin).all()


def test_videos_carry_their_frame_times(tmp_path):
    paths = [write_video(tmp_path / f"{name}.mp4", 12, 25.0) for name in ("a", "b")]
    assert run("make", ",".join(map(str, paths)), "--output", tmp_path / "bag", "--start", "2024-05-01T12:00:00Z") == 0
    begin = 1_714_564_800 * SECOND
    for topic in (RGB, THERMAL):
        found = read_messages(tmp_path / "bag", topic)
        assert [stamp_of(message) - begin for _, _, message in found] == [40_000_000 * index for index in range(12)]
        shown = [pixels_of(message) for _, _, message in found]
        assert [shown_index(image if image.ndim == 2 else image[..., 0]) for image in shown] == list(range(12))
    words = metadata(tmp_path / "bag")["custom_data"]["sage_fusion.stamps"]
    assert words == "frame times of the videos, 25 frames a second, counted from 1714564800.000000000 s"


def test_frames_that_have_no_time_are_counted(tmp_path, monkeypatch):
    paths = [write_video(tmp_path / f"{name}.mp4", 5, 25.0) for name in ("a", "b")]
    source = open_source(",".join(map(str, paths)))
    times = iter([(0, 0), (41_000_000, 43_000_000), (0, 0), (120_000_000, 121_000_000), (150_000_000, 161_000_000)])
    monkeypatch.setattr(source, "frame_times_ns", lambda: next(times))
    made = make_bag(source, tmp_path / "bag", MakeSettings())
    stamps = [stamp_of(message) - SECOND for _, _, message in read_messages(tmp_path / "bag", THERMAL)]
    assert stamps == [0, 43_000_000, 83_000_000, 121_000_000, 161_000_000]
    assert made.stamps.endswith("; 1 frames had no time of their own")


def test_the_metadata_says_where_the_stamps_come_from(folder, tmp_path):
    run("make", folder, "--output", tmp_path / "bag")
    custom = metadata(tmp_path / "bag")["custom_data"]
    assert custom["sage_fusion.stamps"].startswith("made up: a stated rate of 10 pairs a second, counted from 1.0")
    assert "stills" in custom["sage_fusion.stamps"]
    assert custom["sage_fusion.source"] == "folder: set"


def test_a_player_of_the_bag_fits_the_node(folder, tmp_path):
    rclpy_qos = pytest.importorskip("rclpy.qos")
    import rclpy
    from rosbags.rosbag2 import Reader

    from sage_fusion_ros.nodes.qos import profile

    run("make", folder, "--output", tmp_path / "bag")
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("fusion_node", context=context)
    try:
        for camera, topic in DEFAULT_TOPICS.items():
            assert node.resolve_topic_name(f"~/input/{camera}") == topic
            assert node.resolve_topic_name(f"~/input/{camera}_camera_info") == MakeSettings().info_topic(camera)
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
    with Reader(tmp_path / "bag") as reader:
        offered = [qos for connection in reader.connections for qos in connection.ext.offered_qos_profiles]
    assert len(offered) == 4
    for qos in offered:
        played = rclpy_qos.QoSProfile(
            history=rclpy_qos.HistoryPolicy(qos.history.value),
            depth=qos.depth,
            reliability=rclpy_qos.ReliabilityPolicy(qos.reliability.value),
            durability=rclpy_qos.DurabilityPolicy(qos.durability.value),
        )
        for reliability in ("best_effort", "reliable"):
            verdict, reason = rclpy_qos.qos_check_compatible(played, profile(reliability, 5))
            assert verdict != rclpy_qos.QoSCompatibility.ERROR, reason


def test_topics_can_be_those_of_a_camera(folder, tmp_path):
    words = ("--rgb-topic", "/camera/image_raw", "--thermal-topic", "/thermal/image_raw", "--rgb-frame-id", "eye")
    assert run("make", folder, "--output", tmp_path / "bag", *words) == 0
    assert set(topics_of(tmp_path / "bag")) == {
        "/camera/image_raw", "/camera/camera_info", "/thermal/image_raw", "/thermal/camera_info",
    }  # fmt: skip
    assert read_messages(tmp_path / "bag", "/camera/image_raw")[0][2].header.frame_id == "eye"


def test_the_synthetic_street_brings_its_calibration(tmp_path):
    assert run("make", "synthetic:day", "--duration", 0.1, "--output", tmp_path / "bag") == 0
    source = open_source("synthetic:day", duration=0.1)
    for _, _, info in read_messages(tmp_path / "bag", f"{RGB}_camera_info"):
        assert info.k.tolist() == list(source.intrinsics("rgb"))
        assert info.distortion_model == "plumb_bob"
        assert info.p.reshape(3, 4)[:, :3].reshape(-1).tolist() == info.k.tolist()


def test_what_cannot_be_read_is_left_out_by_name(folder, tmp_path, capsys):
    (folder / "rgb/003.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "thermal/005.png").unlink()
    assert run("make", folder, "--output", tmp_path / "bag") == 1
    captured = capsys.readouterr()
    assert "3 pairs" in captured.out
    assert "left out 003: " in captured.err
    assert "left out rgb/005.png: no thermal file" in captured.err
    stamps = [stamp_of(message) for _, _, message in read_messages(tmp_path / "bag", RGB)]
    assert stamps == [SECOND, SECOND + 100_000_000, SECOND + 300_000_000], "the others keep their times"
    assert metadata(tmp_path / "bag")["custom_data"]["sage_fusion.skipped"] == "2"


def test_nothing_is_overwritten(folder, tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "mine").write_text("precious")
    with pytest.raises(SourceError, match="exists already and is not overwritten"):
        run("make", folder, "--output", tmp_path / "bag")
    assert (tmp_path / "bag" / "mine").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "set"]


def test_nothing_is_left_where_nothing_could_be_read(folder, tmp_path):
    for file in (folder / "rgb").iterdir():
        file.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(SourceError, match="nothing of .* could be read"):
        run("make", folder, "--output", tmp_path / "bag")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


@pytest.mark.parametrize("how", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_make_leaves_nothing(folder, tmp_path, how):
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 3:
            raise how

    with pytest.raises(how):
        make_bag(FolderSource(folder), tmp_path / "bag", MakeSettings(), tick)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_make_leaves_no_bag_and_the_next_one_makes_it(tmp_path, number):
    words = ("make", "synthetic", "--duration", "60", "--output", tmp_path / "bag")
    process = start(*words)
    partial = tmp_path / ".bag.partial/scratch/bag_0/bag_0.mcap"
    end = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 2 << 20):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, "the bag does not grow"
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.wait()
    process.stdout.close()
    assert process.returncode in (130, -signal.SIGKILL)
    assert not (tmp_path / "bag").exists()
    if number == signal.SIGTERM:
        assert not list(tmp_path.iterdir())
    write_pair(tmp_path / "set", "1")
    assert run("make", tmp_path / "set", "--output", tmp_path / "bag") == 0
    assert topics_of(tmp_path / "bag")[RGB] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "set"]


def test_the_same_folder_gives_the_same_bytes(folder, tmp_path):
    for name in ("a", "b"):
        run("make", folder, "--output", tmp_path / name / "bag")
    assert contents(tmp_path / "a/bag") == contents(tmp_path / "b/bag")


def test_a_bag_is_no_source(folder, tmp_path):
    run("make", folder, "--output", tmp_path / "bag")
    with pytest.raises(SourceError, match="is a bag already"):
        run("make", tmp_path / "bag", "--output", tmp_path / "again")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--rate", "0"), "--rate is 0"),
        (("--rate", "nan"), "--rate is nan"),
        (("--rate", "1001"), "the rate is 1001"),
        (("--start", "yesterday"), "--start is 'yesterday'"),
        (("--start", "0"), "the start is 0 s"),
        (("--rgb-topic", "camera"), "the rgb topic is 'camera'"),
        (("--rgb-topic", THERMAL), "both cameras have the topic"),
        (("--duration", "3"), "--duration is for the synthetic source"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(folder, tmp_path, words, text):
    with pytest.raises(ParameterError, match=text):
        run("make", folder, "--output", tmp_path / "bag", *words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_times_are_read_as_seconds_or_dates():
    assert read_time("1.5") == 1_500_000_000
    assert read_time("1970-01-01T00:01:00+00:01") == 0
    assert read_time("1970-01-02") == 86_400 * SECOND
    with pytest.raises(ParameterError):
        read_time("nan")


def test_public_sets_as_they_are(shared_data, tmp_path):
    for name in ("msrs", "roadscene"):
        source = open_source(shared_data / name)
        made = make_bag(source, tmp_path / name, MakeSettings(images="compressed"))
        assert made.pairs == len(source)
        copy = open_source(tmp_path / name)
        assert (copy.read(2).thermal == source.read(2).thermal).all(), "PNG keeps them"
        copy.close()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk_leaves_nothing(tmp_path, storage):
    """A limit on the size of files stands in for the disk."""
    import subprocess

    words = command("make", "synthetic", "--duration", "3", "--output", tmp_path / "bag", "--storage", storage)
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20)); "
    begin = "sys.argv = sys.argv[1:]; runpy.run_module('sage_fusion_ros.cli.main', run_name='__main__')"
    done = subprocess.run(
        [words[0], "-c", limit + begin, "sage-fusion", *words[3:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "can't be written" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named_before_anything_is_written(folder, tmp_path, monkeypatch):
    import sys

    from sage_fusion_ros.bags import typestore as module

    module.typestore.cache_clear()
    monkeypatch.setitem(sys.modules, "rosbags.typesys", None)
    with pytest.raises(SourceError, match=r"pip install sage_fusion_ros\[bags\]"):
        run("make", folder, "--output", tmp_path / "bag")
    module.typestore.cache_clear()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path):
    import subprocess

    done = subprocess.run(
        command("make", tmp_path / "none", "--output", tmp_path / "bag"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("sage-fusion: ")
    assert "does not exist" in done.stderr
    assert done.stderr.count("\n") == 1
