"""fusion_node over real DDS: the header rule, bad input, parameters, lifecycle and signals."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from mock_models import make_model
from node_rig import MS, NodeRig, stamp_of, to_message
from sensor_msgs.msg import CameraInfo

from sage_fusion_ros.engines.card import sha256_of
from sage_fusion_ros.pipeline.image_codec import decode


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "sage_fast", "Max")
    make_model(folder / "mean", "Mean")
    damaged = make_model(folder / "damaged")
    (damaged / "model.onnx").write_bytes((damaged / "model.onnx").read_bytes()[:-30])
    truncated = make_model(folder / "truncated")
    before = sha256_of(truncated / "model.onnx")
    (truncated / "model.onnx").write_bytes((truncated / "model.onnx").read_bytes()[:-30])
    card = truncated / "card.yaml"
    card.write_text(card.read_text().replace(before, sha256_of(truncated / "model.onnx")))
    make_model(folder / "slow", "Max", repeat=60)
    return folder


@pytest.fixture(scope="module")
def rig(models):
    """One node for all tests that leave it as it was."""
    with NodeRig(models) as rig:
        rig.wait_for_subscriptions()
        yield rig


def test_fused_carries_the_rgb_stamp_and_frame_in_the_rgb_size(rig):
    rgb = np.full((49, 65, 3), (90, 60, 40), np.uint8)
    thermal = np.full((24, 33), 120, np.uint8)
    fused = rig.fuse_one(rgb, thermal)
    assert fused.header.frame_id == "rgb_optical"
    assert (fused.height, fused.width, fused.encoding, fused.step) == (49, 65, "rgb8", 195)
    image = decode(fused).astype(int)
    assert (image[..., 0] - image[..., 2] == 50).all()
    assert abs((image @ [0.299, 0.587, 0.114]).mean() - 120) < 1
    sent = {rig.base_ns + i * 33 * MS for i in range(1, rig.index + 1)}
    stamps = [stamp_of(m) for m in rig.fused]
    assert set(stamps) <= sent, "the driving camera's stamp, never now()"
    assert len(stamps) == len(set(stamps)), "no stamp goes out twice"


def test_pair_stamps_and_diagnostics_say_what_was_paired(rig):
    rig.fuse_one()
    rig.wait(lambda: rig.pairs, "a pair's stamps")
    pair = rig.pairs[-1]
    assert pair.source == "thermal"
    assert stamp_of(pair) == pair.time_ref.sec * 1_000_000_000 + pair.time_ref.nanosec
    rig.wait(lambda: int(rig.value("pairing", "fused") or 0) >= 1, "diagnostics of the pairing")
    assert rig.value("engine", "provider") == "CPUExecutionProvider"
    assert rig.value("engine", "model") == "sage_fast"
    assert rig.value("input rgb", "encoding") == "rgb8"
    assert rig.value("input thermal", "topic") == "/fusion_node/input/thermal"
    rig.wait(lambda: rig.value("timing", "latency_ms_p50"), "the latency")
    assert {"decode_ms_p50", "normalise_ms_p50", "fuse_ms_p50", "encode_ms_p50", "publish_ms_p50"} <= set(
        rig.statuses["timing"][1]
    )


def test_thermal_of_16_bits_is_normalised(rig):
    counts = np.full((48, 64), 29000, np.uint16)
    counts[10:20, 10:20] = 31000
    image = decode(rig.fuse_one(np.zeros((48, 64, 3), np.uint8), counts))
    assert image[15, 15].mean() > 200 > 60 > image[40, 40].mean()


@pytest.mark.parametrize(
    ("camera", "changes", "text"),
    [
        ("rgb", {"encoding": "h264"}, "encoding 'h264' is not supported"),
        ("rgb", {"step": 100}, "a row of 64 pixels in rgb8 takes 192"),
        ("thermal", {"height": 480}, "cut short"),
        ("thermal", {"height": 0}, "64x0"),
        ("rgb", {"width": 0}, "0x48"),
        ("thermal", {"height": 4000000000, "width": 4000000000}, "not a usable image size"),
    ],
)
def test_an_unreadable_image_is_told_and_the_next_pair_is_fused(rig, camera, changes, text):
    image = np.zeros((48, 64, 3) if camera == "rgb" else (48, 64), np.uint8)

    def told():
        if text in rig.message(f"input {camera}"):
            return True
        rig.index += 1
        stamp = rig.base_ns + rig.index * 33 * MS
        rig.send(stamp_ns=stamp, **{camera: to_message(image, stamp, **changes)})
        return False

    rig.send()
    rig.wait(told, f"'{text}' in diagnostics")
    assert text in rig.log
    rig.fuse_one()


def test_stamps_from_the_future_are_told_and_fused(rig):
    ahead = rig.base_ns + 3_600_000 * MS
    try:
        rig.base_ns, before = ahead, rig.base_ns
        rig.fuse_one()
        rig.wait(lambda: "ahead of this node's clock" in rig.log, "a word about the clocks")
        rig.wait(lambda: "synchronise the clocks" in rig.message("input thermal") or rig.send() == 0, "the diagnostics")
    finally:
        rig.base_ns = before
    rig.fuse_one()  # and back in time: a restart of both cameras


def test_a_silent_camera_is_told_and_taken_back(rig):
    rig.set("diagnostics.stale_ms", 100.0)
    for _ in range(3):
        rig.send(thermal=False)
    rig.wait(lambda: "silent for" in rig.message("input thermal"), "the silence in diagnostics")
    rig.wait(lambda: rig.value("pairing", "dropped: rgb: no partner"), "the drops in diagnostics")
    rig.fuse_one()
    rig.set("diagnostics.stale_ms", 1000.0)


def test_both_cameras_restarted_with_their_clocks_set_back(rig):
    rig.fuse_one()
    rig.base_ns -= 100_000 * MS
    rig.fuse_one()
    rig.base_ns += 100_000 * MS
    rig.fuse_one()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("rate.max_hz", -1.0, "rate.max_hz"),
        ("pairing.max_dt_ms", 1e9, "pairing.max_dt_ms"),
        ("pairing.drive", "left", "parameter pairing.drive is 'left'; expected rgb | thermal"),
        ("thermal.low", 400.0, "low must be below high"),
        ("fusion.model", "nope", "no model named 'nope'"),
        ("fusion.model", "damaged", "has the sha256"),
        ("fusion.model", "truncated", "can't be loaded as a network"),
        ("engine.device", "cuda", "only while the node is unconfigured"),
        ("pairing.max_dt", 1, "parameter pairing.max_dt is unknown (did you mean pairing.max_dt_ms?)"),
    ],
)
def test_a_wrong_parameter_is_refused_and_nothing_changes(rig, name, value, text):
    successful, reason = rig.set(name, value)
    assert not successful
    assert text in reason
    rig.fuse_one()
    rig.wait(lambda: rig.value("engine", "model") == "sage_fast", "the old model in diagnostics")


def test_model_and_settings_change_while_streaming(rig):
    assert rig.set("fusion.model", "mean") == (True, "")
    image = decode(rig.fuse_one())
    assert abs(image.mean() - 80) < 1.5, "the mean of 60 and 100"
    rig.wait(lambda: rig.value("engine", "model") == "mean", "the new model in diagnostics")
    assert rig.set("fusion.model", "sage_fast") == (True, "")
    rig.wait(lambda: decode(rig.fuse_one()).mean() > 98, "the maximum again")
    assert rig.set("pairing.drive", "thermal")[0]
    assert rig.fuse_one().header.frame_id == "rgb_optical"
    assert rig.set("pairing.drive", "rgb")[0]


def test_the_thermal_tint_changes_while_streaming(rig):
    thermal = np.full((48, 64), 20, np.uint8)
    thermal[16:32, 24:32] = 130  # the brighter of the two cameras

    def look():
        """Red, green and blue of the warm body and of what is cool."""
        image = decode(rig.fuse_one(thermal=thermal)).astype(int)
        return image[20, 28], image[40, 10]

    def brightness(pixel):
        return pixel @ [0.299, 0.587, 0.114]

    assert np.ptp(look()[0]) == 0, "off by default"
    assert rig.set("output.thermal_tint", 0.8) == (True, "")
    rig.wait(lambda: np.ptp(look()[0]) > 80, "the colour")
    body, cool = look()
    assert body[0] > body[1] > body[2]
    assert brightness(body) == pytest.approx(130, abs=2)
    assert np.ptp(cool) == 0
    assert rig.set("fusion.model", "mean")[0]
    rig.wait(lambda: abs(brightness(look()[0]) - 95) < 2, "the other model")
    assert np.ptp(look()[0]) > 50, "the tint outlives a change of the model"
    assert rig.set("fusion.model", "sage_fast")[0]
    successful, reason = rig.set("output.thermal_tint", 1.5)
    assert not successful
    assert "output.thermal_tint" in reason
    assert rig.set("output.thermal_tint", 0.0) == (True, "")
    rig.wait(lambda: np.ptp(look()[0]) == 0, "grey again")


def test_camera_info_follows_the_fused_image(rig):
    info = CameraInfo(width=64, height=48, distortion_model="plumb_bob")
    info.k = [100.0, 0.0, 32.0, 0.0, 100.0, 24.0, 0.0, 0.0, 1.0]
    info.header.frame_id = "elsewhere"

    def came():
        rig.info_publisher.publish(info)
        rig.send()
        return rig.infos

    rig.wait(came, "the camera info")
    assert list(rig.infos[-1].k) == list(info.k)
    assert rig.infos[-1].header.frame_id == "rgb_optical"
    rig.wait(lambda: rig.value("input rgb", "calibration") == "64x48 plumb_bob", "the calibration in diagnostics")
    assert rig.value("input thermal", "calibration") == "none"
    rig.wait(lambda: stamp_of(rig.infos[-1]) in {stamp_of(m) for m in rig.fused}, "the same stamp")


def test_zero_stamps_are_paired_by_arrival(models):
    with NodeRig(models, **{"pairing.max_dt_ms": 200.0}) as rig:
        rig.wait_for_subscriptions()
        rig.wait(lambda: rig.fused or rig.send(stamp_ns=0), "a fused pair")
        assert stamp_of(rig.fused[0]) > 0
        assert rig.log.count("stamps of zero") == 2, "said once for each camera"


def test_nothing_is_computed_when_nobody_listens(models):
    with NodeRig(models) as rig:
        rig.wait_for_subscriptions()
        subscription = next(s for s in rig.node.subscriptions if s.topic_name.endswith("output/fused"))
        rig.node.destroy_subscription(subscription)
        rig.wait(lambda: rig.send() and rig.value("pairing", "dropped: pair: nobody listens"), "the idle pairs")
        before = rig.value("pairing", "fused")
        for _ in range(10):
            rig.send()
        assert rig.value("pairing", "fused") == before


def test_a_publisher_that_does_not_fit_is_named(models):
    with NodeRig(models, reliable=False, **{"qos.input.reliability": "reliable"}) as rig:
        offered = "/fusion_node/input/rgb does not fit /cameras (best_effort, volatile"
        asked = "asked for is reliable, volatile, depth 5"
        rig.wait(lambda: f"QoS of {offered}" in rig.message("input rgb"), "the mismatch in diagnostics")
        assert asked in rig.message("input rgb")
        assert rig.value("input rgb", "qos") == "reliable, volatile, depth 5"
        assert rig.value("input rgb", "publisher_qos").startswith("best_effort, volatile")
        rig.wait(lambda: f"QoS RELIABILITY of {offered}" in rig.log, "the mismatch in the log")
        rig.wait(lambda: rig.value("input rgb", "qos_mismatch") == "RELIABILITY", "the policy in diagnostics")
        assert asked in rig.log
        assert "qos.input.reliability to best_effort" in rig.log


def test_rate_limit_changes_while_streaming(models):
    with NodeRig(models, **{"rate.max_hz": 1.0}) as rig:
        rig.wait_for_subscriptions()
        rig.wait(lambda: rig.send() and rig.value("pairing", "dropped: pair: rate limit"), "pairs over the limit")
        assert rig.set("rate.max_hz", 0.0)[0]
        rig.fuse_one()


def test_lifecycle_by_a_manager(models):
    with NodeRig(models, autostart="false") as rig:
        assert rig.state() == "unconfigured"
        assert not rig.change_state("activate"), "a transition that does not fit is refused, and answered"
        assert rig.set("fusion.model", "damaged")[0], "unconfigured, a model is only a name"
        assert not rig.change_state("configure")
        assert rig.state() == "unconfigured"
        assert "has the sha256" in rig.log
        rig.wait(lambda: "has the sha256" in rig.message("engine"), "the reason in diagnostics")
        assert rig.set("fusion.model", "sage_fast")[0]
        for _ in range(2):
            assert rig.change_state("configure")
            assert rig.state() == "inactive"
            assert rig.change_state("activate")
            rig.wait_for_subscriptions()
            rig.fuse_one()
            assert rig.change_state("deactivate")
            rig.wait(lambda: not rig.publishers["rgb"].get_subscription_count(), "the end of the subscriptions")
            assert rig.change_state("activate")
            rig.wait_for_subscriptions()
            rig.fuse_one()
            assert rig.change_state("deactivate")
            assert rig.change_state("cleanup")
            assert rig.state() == "unconfigured"
        assert rig.interrupt() == 0


def test_services_and_diagnostics_answer_while_a_model_loads(models):
    with NodeRig(models, autostart="false", **{"fusion.model": "slow", "engine.threads": 1}) as rig:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(rig.change_state("configure")))
        rig.wait(lambda: rig.state() == "unconfigured", "the node")
        thread.start()
        seen = set()
        rig.wait(lambda: seen.add(rig.state()) or "configuring" in seen, "the state while configuring")
        rig.statuses.clear()
        rig.wait(lambda: rig.statuses, "diagnostics while configuring")
        assert rig.set("rate.max_hz", 5.0)[0]
        assert not answers, "the model took too little time for this test"
        thread.join(60)
        assert answers == [True]


def test_what_changes_while_a_model_loads_stays_changed(models):
    with NodeRig(models, **{"engine.threads": 1}) as rig:
        rig.wait_for_subscriptions()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(rig.set("fusion.model", "slow")))
        thread.start()
        rig.wait(lambda: "loading model slow" in rig.log, "the load")
        assert rig.set("output.thermal_tint", 0.8) == (True, "")
        assert rig.set("detection.score_threshold", 0.7) == (True, "")
        successful, reason = rig.set("fusion.model", "mean")
        assert not answers, "the model took too little time for this test"
        assert not successful
        assert "another one is being loaded" in reason
        thread.join(60)
        assert answers == [(True, "")]
        thermal = np.full((48, 64), 20, np.uint8)
        thermal[16:32, 24:32] = 130
        rig.wait(lambda: np.ptp(decode(rig.fuse_one(thermal=thermal))[24, 28].astype(int)) > 20, "the tint")


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_streaming_ends_with_exit_code_0(models, times):
    with NodeRig(models) as rig:
        rig.wait_for_subscriptions()
        rig.fuse_one()
        rig.send()
        assert rig.interrupt(times) == 0
        assert "Traceback" not in rig.log


def test_unknown_and_wrong_parameters_end_the_start_with_a_message():
    arguments = ["-p", "fusion.modle:=x", "-p", "rate.max_hz:=-3.0"]
    done = subprocess.run(
        [sys.executable, "-m", "sage_fusion_ros.nodes.fusion_node", "--ros-args", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "fusion.modle is unknown (did you mean fusion.model?)" in done.stderr
    assert "rate.max_hz is -3.0; expected 0 to 1000 Hz" in done.stderr
    assert "Traceback" not in done.stderr


def test_message_filters_is_refused_by_name_where_it_is_missing(models):
    try:
        import message_filters  # noqa: F401
    except ImportError:
        with NodeRig(models, **{"pairing.method": "message_filters"}) as rig:
            rig.wait(lambda: "'message_filters', which is not installed here" in rig.message("engine"), "the reason")
            assert rig.state() == "unconfigured"
    else:
        with NodeRig(models, **{"pairing.method": "message_filters"}) as rig:
            rig.wait_for_subscriptions()
            rig.fuse_one()
