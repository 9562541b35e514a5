"""sage-fusion fuse: what it writes, what it skips and how it says so."""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest
from mock_models import make_model

from sage_fusion_ros.cli import fuse
from sage_fusion_ros.errors import ParameterError, SourceError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "models" / "brighter", "Max")


def arguments(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    fuse.add_parser(parser.add_subparsers())
    return parser.parse_args(["fuse", *map(str, words)])


def run(*words: object) -> int:
    return fuse.run(arguments(*words))


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def grey(value: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def hot_spot(dtype: type = np.uint8, height: int = 24, width: int = 32) -> np.ndarray:
    """Cold everywhere, hot in the left half: after any normalisation 0 and the full scale."""
    image = np.zeros((height, width), dtype)
    image[:, : width // 2] = np.iinfo(dtype).max
    return image


def test_two_files_give_a_png_under_the_rgb_files_name(tmp_path, model):
    rgb = write(tmp_path / "in" / "street.jpg", grey(100))
    thermal = write(tmp_path / "in" / "other_name.png", hot_spot())
    assert run(rgb, thermal, "--model", model, "--output", tmp_path / "out") == fuse.ALL_DONE
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["street.png"]
    fused = cv2.imread(str(tmp_path / "out" / "street.png"))
    assert fused.shape == (24, 32, 3)
    assert (fused[:, :16] == 255).all()
    assert (abs(fused[:, 16:].astype(int) - 100) <= 1).all()


def test_sixteen_bits_are_stretched_as_in_the_node(tmp_path, model):
    thermal = np.full((24, 32), 29_000, np.uint16)
    thermal[:, :16] = 31_000
    rgb = write(tmp_path / "a.png", grey(100))
    run(rgb, write(tmp_path / "b.png", thermal), "--model", model, "--output", tmp_path / "out")
    fused = cv2.imread(str(tmp_path / "out" / "a.png"))
    assert (fused[:, :16] == 255).all()
    assert (abs(fused[:, 16:].astype(int) - 100) <= 1).all()


def test_warm_things_are_tinted_when_asked_for(tmp_path, model):
    thermal = np.full((24, 32), 20, np.uint8)
    thermal[8:16, 12:16] = 130
    paths = write(tmp_path / "a.png", grey(60)), write(tmp_path / "b.png", thermal)
    found = {}
    for strength in (0, 0.8):
        run(*paths, "--model", model, "--output", tmp_path / f"out{strength}", "--thermal-tint", strength)
        found[strength] = cv2.imread(str(tmp_path / f"out{strength}" / "a.png")).astype(int)
    blue, green, red = found[0.8][12, 14]
    assert red > green > blue
    assert np.ptp(found[0], axis=2).max() == 0
    assert (found[0.8][20] == found[0][20]).all()


@pytest.mark.parametrize("strength", ["1.5", "-1", "nan"])
def test_a_tint_out_of_range_is_refused_before_anything_is_read(tmp_path, strength):
    with pytest.raises(ParameterError, match=r"--thermal-tint is .*; expected 0 to 1"):
        run(tmp_path / "a.png", tmp_path / "b.png", "--output", tmp_path / "out", f"--thermal-tint={strength}")


def test_a_thermal_image_of_another_size_is_brought_to_the_rgb_images(tmp_path, model):
    rgb = write(tmp_path / "a.png", grey(100, 48, 64))
    run(rgb, write(tmp_path / "b.png", hot_spot()), "--model", model, "--output", tmp_path / "out")
    fused = cv2.imread(str(tmp_path / "out" / "a.png"))
    assert fused.shape == (48, 64, 3)
    assert (fused[:, :30] == 255).all()
    assert (fused[:, 34:] <= 101).all()


def test_two_folders_are_matched_by_stem_and_the_rest_is_named(tmp_path, model, capsys):
    for stem in ("one", "two.half", "lonely"):
        write(tmp_path / "colour" / f"{stem}.jpg", grey(90))
    for stem in ("one", "two.half", "orphan"):
        write(tmp_path / "heat" / f"{stem}.png", hot_spot())
    code = run(tmp_path / "colour", tmp_path / "heat", "--model", model, "--output", tmp_path / "out")
    assert code == fuse.SOME_SKIPPED
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "two.half.png"]
    said = capsys.readouterr()
    assert "lonely.jpg: no thermal image of that name" in said.err
    assert "orphan.png: no RGB image of that name" in said.err
    assert "2 fused" in said.out
    assert "2 skipped" in said.out


def test_one_folder_of_a_known_layout(tmp_path, model):
    write(tmp_path / "set" / "visible" / "test" / "0001.jpg", grey(90))
    write(tmp_path / "set" / "infrared" / "test" / "0001.jpg", hot_spot())
    assert run(tmp_path / "set", "--model", model, "--output", tmp_path / "out") == fuse.ALL_DONE
    assert (tmp_path / "out" / "test" / "0001.png").is_file()


def test_a_truncated_file_is_a_named_skip_and_the_others_go_on(tmp_path, model, capsys):
    for stem in ("broken", "whole"):
        write(tmp_path / "colour" / f"{stem}.png", np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
        write(tmp_path / "heat" / f"{stem}.png", hot_spot())
    broken = tmp_path / "colour" / "broken.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    code = run(tmp_path / "colour", tmp_path / "heat", "--model", model, "--output", tmp_path / "out")
    assert code == fuse.SOME_SKIPPED
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole.png"]
    assert "broken.png" in capsys.readouterr().err


def test_nothing_fused_is_exit_code_2(tmp_path, model, capsys):
    rgb = write(tmp_path / "a.png", grey(90))
    thermal = tmp_path / "b.png"
    thermal.write_bytes(b"no image")
    assert run(rgb, thermal, "--model", model, "--output", tmp_path / "out") == fuse.NOTHING_DONE
    assert "b.png" in capsys.readouterr().err


@pytest.mark.parametrize("linked", [False, True])
def test_inputs_are_never_overwritten(tmp_path, model, linked):
    rgb = write(tmp_path / "in" / "a.png", grey(90))
    thermal = write(tmp_path / "in" / "b.png", hot_spot())
    output = rgb.parent
    if linked:
        output = tmp_path / "out"
        output.mkdir()
        (output / "a.png").symlink_to(thermal)
    before = rgb.read_bytes(), thermal.read_bytes()
    with pytest.raises(ParameterError, match="would overwrite the input"):
        run(rgb, thermal, "--model", model, "--output", output)
    assert (rgb.read_bytes(), thermal.read_bytes()) == before


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    target = write(tmp_path / "a.png", grey(1))
    before = target.read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Exception, match="No space left"):
        fuse.write_png(target, grey(2))
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("rgb", "thermal", "message"),
    [
        ("missing.png", "b.png", "missing.png does not exist"),
        ("a.png", None, "name the thermal file too"),
        ("a.png", "folder", "two files or two folders"),
        ("folder", "folder2", "no image in .* has a partner"),
    ],
)
def test_unusable_arguments_are_refused_by_name(tmp_path, rgb, thermal, message):
    write(tmp_path / "a.png", grey(90))
    write(tmp_path / "b.png", hot_spot())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder2").mkdir()
    with pytest.raises(SourceError, match=message):
        fuse.find_work(tmp_path / rgb, None if thermal is None else tmp_path / thermal)
