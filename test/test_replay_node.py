import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from replay_rig import SECOND, Listener, indices, replay, run, stamp_of, start
from source_files import shown_index, write_bag, write_pair, write_video

from sage_fusion_ros.pipeline.image_codec import decode


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_video(tmp_path / "visible" / "clip.mp4", 30, colour=True)
    write_video(tmp_path / "infrared" / "clip.mp4", 30)
    return tmp_path / "clip"


def test_what_arrives_is_what_the_log_says(listener: Listener, tmp_path: Path, clip: Path) -> None:
    events, printed = replay(listener, tmp_path, source=clip)
    for camera, encoding in (("rgb", "rgb8"), ("thermal", "mono8")):
        images = listener.images[camera]
        plane = 1 if camera == "rgb" else ...
        shown = [shown_index(decode(image)[..., plane] if camera == "rgb" else decode(image)) for image in images]
        assert [(stamp_of(image), index) for image, index in zip(images, shown, strict=True)] == indices(events, camera)
        assert shown == list(range(30))
        assert {image.encoding for image in images} == {encoding}
        assert {image.header.frame_id for image in images} == {f"{camera}_camera"}
        assert [stamp_of(info) for info in listener.infos[camera]] == [stamp_of(image) for image in images]
        assert {(info.width, info.height, *info.k) for info in listener.infos[camera]} == {(64, 48, *[0.0] * 9)}
    assert events[-1] == {"event": "finished", "pairs": 30, "skipped": []}
    assert "sent 30 of 30 pairs" in printed
    stamps = np.array(indices(events, "rgb"))[:, 0]
    assert set(np.round(np.diff(stamps) / 1e6).tolist()) == {33.0}
    assert all(-0.01 < delay < 2 for delay in listener.delays)  # a stamp is the time of sending, never the future


def test_offset_mono16_and_a_faster_rate(listener: Listener, tmp_path: Path, clip: Path) -> None:
    parameters = {
        "thermal__encoding": "mono16",
        "thermal__offset_ms": 40.0,
        "rate": 60.0,
        "start": 0.1,
        "duration": 0.2,
    }
    events, _ = replay(listener, tmp_path, source=clip, **parameters)
    rgb, thermal = indices(events, "rgb"), indices(events, "thermal")
    assert [index for _, index in rgb] == [index for _, index in thermal] == list(range(6, 18))
    assert {late - early for (early, _), (late, _) in zip(rgb, thermal, strict=True)} == {40_000_000}
    image = decode(listener.images["thermal"][0])
    assert image.dtype == np.uint16
    assert (image % 257 == 0).all()
    assert image.max() > 30_000


def test_stills_say_so_and_broken_files_are_counted(listener: Listener, tmp_path: Path) -> None:
    for index in range(6):
        write_pair(tmp_path / "stills", f"{index}", index=index)
    broken = tmp_path / "stills" / "rgb" / "3.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    (tmp_path / "stills" / "thermal" / "5.png").unlink()
    events, printed = replay(listener, tmp_path, source=tmp_path / "stills", rate=50.0)
    assert [index for _, index in indices(events, "rgb")] == [0, 1, 2, 4]
    assert indices(events, "rgb") == indices(events, "thermal")
    assert events[-1]["pairs"] == 4
    (partner, damaged) = events[-1]["skipped"]
    assert partner == ["rgb/5.png", "no thermal file of that name"]
    assert damaged[0] == "pair 3"
    assert "3.png" in damaged[1]
    assert printed.count("stills, no sequence") == 1


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_keeps_unequal_rates(listener: Listener, tmp_path: Path, storage: str) -> None:
    pytest.importorskip("rosbags")
    first = 1_700_000_000 * SECOND
    rgb = [first + index * 33_000_000 for index in range(12)]
    thermal = [first + 5_000_000 + index * 110_000_000 for index in range(4)]
    bag = write_bag(tmp_path / "bag", storage, rgb, thermal)
    events, _ = replay(listener, tmp_path, source=bag)
    sent_rgb, sent_thermal = indices(events, "rgb"), indices(events, "thermal")
    moved = sent_rgb[0][0] - first
    assert sent_rgb == [(stamp + moved, index) for index, stamp in enumerate(rgb)]
    assert sent_thermal == [(stamp + moved, index) for index, stamp in enumerate(thermal)]
    assert [decode(image)[0, 0] for image in listener.images["thermal"]] == [0, 1000, 2000, 3000]


def test_recorded_stamps_on_request_and_restarted_loops(listener: Listener, tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    first = 1_700_000_000 * SECOND
    stamps = [first + index * 33_000_000 for index in range(5)]
    bag = write_bag(tmp_path / "bag", "mcap", stamps, stamps)
    options = {"stamps": "recorded", "loop": True, "loop_stamps": "restart", "duration": 0.33}
    events, _ = replay(listener, tmp_path, source=bag, **options)
    assert [stamp for stamp, _ in indices(events, "rgb")] == stamps * 2
    assert [stamp_of(image) for image in listener.images["rgb"]] == stamps * 2


def test_the_synthetic_scene_has_a_calibration(listener: Listener, tmp_path: Path) -> None:
    # Long enough for the topic that is discovered last.
    replay(listener, tmp_path, source="synthetic:day", duration=1.0)
    assert listener.infos["thermal"]
    info = listener.infos["thermal"][0]
    assert (info.width, info.height) == (640, 480)
    assert info.k[0] == info.p[0] == 512.0
    assert listener.images["thermal"][0].encoding == "mono16"
    assert listener.images["rgb"][0].encoding == "rgb8"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"source": "no/such/folder"}, "'no/such/folder' does not exist"),
        ({"source": "synthetic:rain"}, "'synthetic:rain' is unknown"),
        ({"rate": -1.0}, "parameter rate is -1.0; expected 0 to 1000 Hz"),
        ({"rate": "fast"}, "parameter rate is 'fast'; expected float"),
        ({"thermal__encoding": "mono12"}, "parameter thermal.encoding is 'mono12'; expected source | mono8 | mono16"),
        ({"stamps": "recorded"}, "parameter stamps is 'recorded', which only a bag at its own rate"),
        ({"raet": 10.0}, "parameter raet is unknown (did you mean rate?)"),
        ({"log_path": "/proc/none/log"}, "parameter log_path is '/proc/none/log', which can't be written"),
    ],
)
def test_mistakes_end_with_one_line_and_two(parameters: dict[str, object], message: str) -> None:
    code, printed = run(**parameters)
    assert code == 2
    assert message in printed
    assert "Traceback" not in printed
    assert printed.startswith("replay_node: ")
    assert printed.count("\n") == 1


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    (tmp_path / "rgb" / "a.png").write_bytes(b"")
    code, printed = run(source=tmp_path)
    assert code == 2
    assert "could be read" in printed
    assert "a.png' is damaged: it is empty" in printed


def test_starting_behind_the_end_is_an_error(clip: Path) -> None:
    code, printed = run(source=clip, start=9.0)
    assert code == 2
    assert "start is 9 s" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("gap", [None, 0.0, 0.005, 0.05])
def test_signals_end_it_cleanly_also_two(tmp_path: Path, clip: Path, number: int, gap: float | None) -> None:
    log = tmp_path / "replay.jsonl"
    process = start(source=clip, loop=True, log_path=log)
    try:
        deadline = time.monotonic() + 30
        while not (log.exists() and log.stat().st_size > 500) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        if gap is not None:
            time.sleep(gap)
            process.send_signal(number)
        _, printed = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    assert "Traceback" not in printed
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines
    assert all("camera" in line for line in lines)


def test_a_signal_ends_the_wait_for_subscribers(clip: Path) -> None:
    process = start(source=clip, wait_for_subscribers=1)
    for line in process.stderr:
        if "replaying" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_without_subscribers_it_begins_after_the_timeout(clip: Path) -> None:
    code, printed = run(source=clip, wait_for_subscribers=1, wait_timeout=0.2, duration=0.1)
    assert code == 0
    assert "1 each were asked for" in printed
    assert "sent 3 of 3 pairs" in printed
