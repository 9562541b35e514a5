from pathlib import Path

import numpy as np
import pytest
from source_files import shown_index, write_pair, write_video

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.open import open_source
from sage_fusion_ros.sources.video import VideoSource


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name, frames in (("one", 40), ("two", 5)):
        write_video(tmp_path / "visible" / f"{name}.mp4", frames, colour=True)
        write_video(tmp_path / "infrared" / f"{name}.mp4", frames)
    return tmp_path


def test_frames_come_in_order_and_in_any_order(clips: Path) -> None:
    source = open_source(clips / "one")
    assert (source.kind, len(source), source.frame_rate, source.is_sequence) == ("video", 40, 30.0, True)
    assert [shown_index(source.read(index).thermal) for index in range(40)] == list(range(40))
    for index in (39, 0, 17, 18, 20, 3, 3, 38):
        assert shown_index(source.read(index).thermal) == index
        assert shown_index(source.read(index).rgb[..., 1]) == index
    source.close()


def test_a_frame_is_the_same_after_a_seek(clips: Path) -> None:
    first, second = open_source(clips / "one"), open_source(clips / "one")
    straight = [first.read(index) for index in range(30)]
    jumped = second.read(29)
    np.testing.assert_array_equal(straight[29].rgb, jumped.rgb)
    np.testing.assert_array_equal(straight[29].thermal, jumped.thermal)


def test_channels_and_shapes(clips: Path) -> None:
    pair = open_source(clips, clip="two").read(0)
    assert pair.rgb.shape == (48, 64, 3)
    assert pair.thermal.shape == (48, 64)
    assert pair.thermal.dtype == np.uint8
    assert pair.rgb[..., 0].mean() > 150 > pair.rgb[..., 2].mean()


def test_ways_to_name_a_clip(clips: Path) -> None:
    both = f"{clips / 'visible' / 'two.mp4'}, {clips / 'infrared' / 'two.mp4'}"
    for spec, options in ((both, {}), (clips / "two", {}), (clips, {"clip": "two"})):
        source = open_source(spec, **options)
        assert len(source) == 5
        source.close()
    with pytest.raises(SourceError, match="2 clips; name one"):
        open_source(clips)
    with pytest.raises(SourceError, match="no clip 'three'; there are one, two"):
        open_source(clips / "three")
    with pytest.raises(SourceError, match="give both videos"):
        open_source(clips / "visible" / "one.mp4")


def test_surplus_frames_are_counted(tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "a.mp4", 12), write_video(tmp_path / "b.mp4", 9))
    assert len(source) == 9
    assert source.skipped == [(str(tmp_path / "a.mp4"), "its last 3 frames have no partner")]


def test_unequal_rates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"30 frames/s .* 9"):
        VideoSource(write_video(tmp_path / "a.mp4", 12), write_video(tmp_path / "b.mp4", 12, rate=9.0))


def test_truncated_and_missing_videos(tmp_path: Path) -> None:
    good, cut = write_video(tmp_path / "a.mp4", 12), write_video(tmp_path / "b.mp4", 12)
    cut.write_bytes(cut.read_bytes()[:-900])
    with pytest.raises(SourceError, match=r"b\.mp4.*truncated"):
        VideoSource(good, cut)
    with pytest.raises(SourceError, match=r"none\.mp4' does not exist"):
        VideoSource(good, tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match=r"text\.mp4"):
        VideoSource(tmp_path / "text.mp4", good)


def outcome(source: VideoSource, index: int) -> str:
    """Empty, or the message of the error."""
    try:
        source.read(index)
    except SourceError as error:
        return str(error)
    return ""


def test_frames_that_the_header_promises_and_the_file_lacks(tmp_path: Path) -> None:
    # An AVI keeps its count in front, so that a cut file still opens.
    import cv2

    paths = []
    for name in ("a.avi", "b.avi"):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter_fourcc(*"MJPG"), 30, (64, 48))
        noise = np.random.default_rng(0)
        for _ in range(30):
            writer.write(cv2.cvtColor(noise.integers(0, 255, (48, 64), np.uint8), cv2.COLOR_GRAY2BGR))
        writer.release()
        paths.append(tmp_path / name)
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: len(whole) // 2])
    source = VideoSource(*paths)
    outcomes = [outcome(source, index) for index in range(len(source))]
    assert outcomes.count("") > 3
    assert all("b.avi" in problem for problem in outcomes if problem)
    assert any(outcomes)
    source.read(0)  # what is there can be read again after a failure


def test_options_and_words_that_do_not_fit(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="clip"):
        open_source("synthetic", clip="one")
    with pytest.raises(SourceError, match="rgb_topic"):
        open_source(clips / "one", rgb_topic="/a")
    with pytest.raises(SourceError, match="empty"):
        open_source("")
    with pytest.raises(SourceError, match="3 files"):
        open_source("a.mp4,b.mp4,c.mp4")
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / "none" / "of" / "it")
    write_pair(tmp_path / "stills", "a")
    assert open_source(tmp_path / "stills").kind == "folder"
    with pytest.raises(SourceError, match="single file"):
        open_source(tmp_path / "stills" / "rgb" / "a.png")
