from pathlib import Path

import pytest
from source_files import write_pair

from sage_fusion_ros.errors import SourceError
from sage_fusion_ros.sources.folder import FolderSource
from sage_fusion_ros.sources.layouts import find_pairs


@pytest.mark.parametrize(
    ("rgb", "thermal"),
    [
        ("rgb", "thermal"),
        ("visible/train", "infrared/train"),
        ("Vis", "Ir"),
        ("vi", "ir"),
        ("crop_LR_visible", "cropinfrared"),
        ("RGB", "Thermal"),
    ],
)
def test_known_layouts_are_found(tmp_path: Path, rgb: str, thermal: str) -> None:
    for name in ("b", "a"):
        write_pair(tmp_path, name, rgb, thermal)
    listing = find_pairs(tmp_path)
    assert [pair.name.rpartition("/")[2] for pair in listing.pairs] == ["a", "b"]
    assert all(pair.rgb.is_relative_to(tmp_path / rgb.split("/")[0]) for pair in listing.pairs)
    assert all(pair.thermal.is_relative_to(tmp_path / thermal.split("/")[0]) for pair in listing.pairs)
    assert listing.skipped == []


def test_train_and_test_parts_do_not_mix(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_pair(tmp_path, "000001", f"visible/{part}", f"infrared/{part}")
    pairs = find_pairs(tmp_path).pairs
    assert [pair.name for pair in pairs] == ["test/000001", "train/000001"]
    assert all(pair.rgb.parent.name == pair.thermal.parent.name for pair in pairs)


def test_layout_below_the_folder_is_found_with_the_clip_in_the_name(tmp_path: Path) -> None:
    for clip in ("clip2", "clip1"):
        write_pair(tmp_path / clip, "0000", "vi", "ir")
    assert [pair.name for pair in find_pairs(tmp_path).pairs] == ["clip1/0000", "clip2/0000"]


def test_different_suffixes_belong_together(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    (tmp_path / "rgb" / "a.png").rename(tmp_path / "rgb" / "a.JPG")
    assert find_pairs(tmp_path).pairs[0].rgb.name == "a.JPG"


def test_missing_partners_are_counted_with_their_side(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_pair(tmp_path, name)
    (tmp_path / "rgb" / "a.png").unlink()
    (tmp_path / "thermal" / "c.png").unlink()
    listing = find_pairs(tmp_path)
    assert [pair.name for pair in listing.pairs] == ["b"]
    assert listing.skipped == [
        ("rgb/c.png", "no thermal file of that name"),
        ("thermal/a.png", "no RGB file of that name"),
    ]


def test_a_name_that_occurs_twice_is_reported(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    (tmp_path / "rgb" / "a.jpg").write_bytes(b"x")
    (name, reason) = find_pairs(tmp_path).skipped[0]
    assert name == "rgb/a.png"
    assert "same name" in reason


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    (tmp_path / "rgb" / "notes.txt").write_text("x")
    (tmp_path / "rgb" / ".a2.png").write_text("x")
    assert find_pairs(tmp_path).skipped == []


def test_wrong_folders_have_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        find_pairs(tmp_path / "none")
    with pytest.raises(SourceError, match="found nothing"):
        find_pairs(tmp_path)
    (tmp_path / "rgb").mkdir()
    with pytest.raises(SourceError, match=r"found rgb/"):
        find_pairs(tmp_path)
    (tmp_path / "thermal").mkdir()
    with pytest.raises(SourceError, match="no files"):
        find_pairs(tmp_path)
    (tmp_path / "rgb" / "a.png").write_bytes(b"x")
    with pytest.raises(SourceError, match="1 files have no partner"):
        find_pairs(tmp_path)


def test_folder_source_reads_what_the_files_hold(tmp_path: Path) -> None:
    for index in range(3):
        write_pair(tmp_path, f"{index:03d}", index=index)
    source = FolderSource(tmp_path)
    assert len(source) == 3
    assert source.frame_rate is None
    assert not source.is_sequence
    pair = source.read(2)
    assert pair.rgb[0, 0].tolist() == [16, 40, 40]
    assert pair.thermal[0, 0] == 16
    with pytest.raises(IndexError):
        source.read(3)
    with pytest.raises(IndexError):
        source.read(-1)
