import sys
from pathlib import Path

import pytest
from source_files import write_bag

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.bag import BagSource
from sage_fusion_ros.sources.bag_topics import ImageTopic, choose_topics
from sage_fusion_ros.sources.open import open_source

pytest.importorskip("rosbags")
START = 1_700_000_000_123_456_789
RGB = [START + index * 33_333_333 for index in range(20)]
THERMAL = [START + 4_000_000 + index * 111_111_111 for index in range(6)]


@pytest.fixture(params=["mcap", "sqlite3"])
def bag(request, tmp_path: Path) -> Path:
    return write_bag(tmp_path / "bag", request.param, RGB, THERMAL)


def test_recorded_stamps_and_both_counts_are_kept(bag: Path) -> None:
    source = open_source(bag)
    assert source.kind == "bag"
    assert source.camera_stamps("rgb") == RGB
    assert source.camera_stamps("thermal") == THERMAL
    assert source.frame_rate == pytest.approx(30, abs=0.01)
    assert (source.topic("rgb"), source.topic("thermal")) == ("/camera/image_raw", "/flir/image_raw")
    source.close()


def test_messages_can_be_read_in_any_order(bag: Path) -> None:
    source = open_source(bag)
    for index in (0, 1, 2, 19, 7, 8, 3):
        image = source.read_camera("rgb", index)
        assert image[0, 0].tolist() == [index * 8, 40, 40]
    for index in (5, 0, 1):
        assert source.read_camera("thermal", index)[0, 0] == index * 1000
    assert source.read_camera("thermal", 2).dtype.name == "uint16"


def test_read_pairs_with_the_nearest_in_time(bag: Path) -> None:
    source = open_source(bag)
    for index in range(len(source)):
        rgb, thermal = source.stamps_ns(index)
        nearest = min(THERMAL, key=lambda stamp: abs(stamp - RGB[index]))
        assert (rgb, thermal) == (RGB[index], nearest)
        assert source.read(index).thermal[0, 0] == THERMAL.index(nearest) * 1000


def test_a_single_file_and_a_folder_without_metadata(bag: Path) -> None:
    (file,) = [path for path in bag.iterdir() if path.suffix in (".mcap", ".db3")]
    assert len(open_source(file)) == 20
    (bag / "metadata.yaml").unlink()
    assert len(open_source(bag)) == 20


def test_compressed_images(tmp_path: Path) -> None:
    source = open_source(write_bag(tmp_path / "bag", "mcap", RGB, THERMAL, compressed=True))
    assert source.topic("rgb") == "/camera/image_raw/compressed"
    assert source.read(5).rgb[0, 0].tolist() == [40, 40, 40]
    assert source.read(6).rgb[0, 0].tolist() == [48, 40, 40]


def test_messages_without_a_stamp_take_the_time_of_recording(tmp_path: Path) -> None:
    source = open_source(write_bag(tmp_path / "bag", "mcap", [0, START], THERMAL))
    assert 10**18 + 5_000_000 in source.camera_stamps("rgb")
    assert "1 messages have no stamp" in source.skipped[0][1]


def test_topics_can_be_named(bag: Path) -> None:
    source = open_source(bag, rgb_topic="/camera/image_raw", thermal_topic="/flir/image_raw")
    assert len(source) == 20
    with pytest.raises(SourceError, match=r"no images on topic '/nope'; .* /camera/image_raw \(rgb8\)"):
        open_source(bag, rgb_topic="/nope")


def topic(name: str, encoding: str = "rgb8", compressed: bool = False) -> ImageTopic:
    return ImageTopic(name, compressed, encoding)


@pytest.mark.parametrize(
    ("topics", "thermal"),
    [
        ([topic("/cam0"), topic("/cam1", "mono16")], "/cam1"),
        ([topic("/left/image"), topic("/ir/image", "rgb8")], "/ir/image"),
        ([topic("/a"), topic("/thermal", "mono8"), topic("/depth", "32FC1")], "/thermal"),
        ([topic("/a"), topic("/a/compressed", compressed=True), topic("/lwir", "16UC1")], "/lwir"),
    ],
)
def test_cameras_are_told_apart(topics: list[ImageTopic], thermal: str) -> None:
    chosen = choose_topics(topics, {"rgb": "", "thermal": ""}, "bag")
    assert chosen["thermal"].name == thermal
    assert chosen["rgb"].name == topics[0].name


def test_doubtful_topics_are_an_error() -> None:
    with pytest.raises(SourceError, match=r"several .* rgb .* rgb_topic"):
        choose_topics([topic("/a"), topic("/b"), topic("/thermal", "mono8")], {"rgb": "", "thermal": ""}, "bag")
    with pytest.raises(SourceError, match=r"no topic .* thermal"):
        choose_topics([topic("/a")], {"rgb": "", "thermal": ""}, "bag")
    with pytest.raises(SourceError, match="image topics are: none"):
        choose_topics([], {"rgb": "", "thermal": ""}, "bag")


def test_damaged_bags(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "mcap", "mcap", RGB, THERMAL)
    file = next(bag.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(SourceError, match="can't be opened"):
        open_source(bag)
    file.write_bytes(b"")
    with pytest.raises(SourceError, match="can't be opened"):
        open_source(bag)
    bag = write_bag(tmp_path / "sqlite", "sqlite3", RGB, THERMAL)
    file = next(bag.glob("*.db3"))
    file.write_bytes(file.read_bytes()[:-3000])
    source = open_source(bag)
    assert 0 < len(source) < 20
    assert any("unreadable after" in reason for _, reason in source.skipped)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "metadata.yaml").write_text("x: 1")
    with pytest.raises(SourceError, match="can't be opened"):
        open_source(tmp_path / "meta")
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / "none.mcap")


def test_a_missing_library_is_named(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    with pytest.raises(SourceError, match=r"pip install sage_fusion_ros\[bags\]"):
        BagSource(bag)
