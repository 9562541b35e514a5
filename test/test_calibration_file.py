"""Calibration files: what is written is read, what is wrong is named, and nothing is half written."""

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.errors import CalibrationError
from sage_fusion_ros.pipeline.camera_model import CameraModel
from sage_fusion_ros.pipeline.pixel_maps import Extrinsics, HomographyMap
from sage_fusion_ros.sources.calibration_file import (
    MAX_BYTES,
    Calibration,
    calibration_text,
    parse_calibration,
    read_calibration,
    write_calibration,
)

sides = st.integers(1, 4000)
numbers = st.floats(-1e3, 1e3)
lenses = st.builds(
    lambda w, h, f, c, d: CameraModel(w, h, (f, 0.0, c, 0.0, f * 1.1, c / 2, 0.0, 0.0, 1.0), "plumb_bob", tuple(d)),
    *(sides, sides, st.floats(1, 1e4), numbers, st.lists(numbers, min_size=5, max_size=5)),
)
stands = st.builds(
    lambda a, b, t: Extrinsics.from_quaternion((np.sin(a) * np.cos(b), np.sin(a) * np.sin(b), 0.0, np.cos(a)), t),
    *(st.floats(-3, 3), st.floats(-3, 3), st.tuples(numbers, numbers, numbers)),
)
homographies = st.builds(
    lambda s, x, y, size, thermal: HomographyMap((s, 0.01, x, -0.01, s, y, 1e-6, -1e-6, 1.0), size, thermal),
    *(st.floats(0.3, 3), numbers, numbers, st.tuples(sides, sides), st.tuples(sides, sides)),
)
calibrations = st.one_of(
    st.builds(lambda h: Calibration(homography=h, report={"kept_out_median_px": 0.5}), homographies),
    st.builds(
        lambda rgb, thermal, stand: Calibration(rgb=rgb, thermal=thermal, extrinsics=stand),
        *(st.none() | lenses, st.none() | lenses, st.none() | stands),
    ),
)
GOOD = calibration_text(Calibration(homography=HomographyMap((1, 0, 5, 0, 1, 7, 0, 0, 1), (640, 480), (320, 240))))
LENSES = """
format: sage_fusion_calibration
version: 1
method: calibrated
rgb: {width: 640, height: 480, k: [500, 0, 320, 0, 500, 240, 0, 0, 1], distortion_model: equidistant, d: [0, 0, 0, 0]}
extrinsics: {quaternion: [0, 0, 0, 1], translation: [0.1, 0, 0]}
"""


@given(calibrations)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_bit_for_bit(calibration):
    assert parse_calibration(calibration_text(calibration)) == calibration


def test_a_file_written_by_hand_is_read():
    calibration = parse_calibration(LENSES)
    assert calibration.method == "calibrated"
    assert calibration.rgb.is_fisheye
    assert calibration.thermal is None
    assert calibration.extrinsics.translation == (0.1, 0.0, 0.0)
    assert calibration.extrinsics.rotation == (1, 0, 0, 0, 1, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("format: sage_fusion_calibration", "format: x", "does not begin with 'format: sage_fusion_calibration'"),
        ("version: 1", "version: 2", "newer sage_fusion_ros"),
        ("version: 1", "version: '1'", "version is '1'"),
        ("version: 1", "version: true", "version is True"),
        ("method: homography", "method: magic", "method is 'magic'"),
        ("method: homography", "method: [homography]", "method is ['homography']"),
        ("method: homography", "method: calibrated", "unknown field"),
        ("thermal_size: [320, 240]", "thermal_sise: [320, 240]", "unknown field 'thermal_sise'"),
        ("thermal_size: [320, 240]", "", "lacks the field 'thermal_size'"),
        ("thermal_size: [320, 240]", "thermal_size: [320, 240.5]", "thermal_size is [320, 240.5]"),
        ("thermal_size: [320, 240]", "thermal_size: [320, -240]", "expected 1 to 16384"),
        ("thermal_size: [320, 240]", "rgb_size: [320, 240]", "'rgb_size' is given twice"),
        ("[0, 0, 1]", "[0, 0, .nan]", "not finite"),
        ("[0, 0, 1]", "[0, 0, .inf]", "expected numbers"),
        ("[0, 0, 1]", "[0, 0, '1']", "expected numbers"),
        ("[0, 0, 1]", "[0, 0]", "a list of 3 numbers"),
        ("[0, 0, 1]", "[0, 0, 1" + "0" * 400 + "]", "expected numbers"),
        ("version: 1", "version: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("version: 1", "version: [1", "not valid YAML"),
        ("version: 1", "? {a: 1}\n: 1\nversion: 1", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path, old, new, text):
    assert old in GOOD
    path = tmp_path / "cameras.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(CalibrationError) as caught:
        read_calibration(path)
    assert str(path) in str(caught.value)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("quaternion: [0, 0, 0, 1]", "quaternion: [0, 0, 0, 2]", "length 2"),
        ("quaternion: [0, 0, 0, 1], ", "", "one of rotation"),
        ("translation: [0.1, 0, 0]", "translation: 5", "translation is 5"),
        ("k: [500,", "k: [0,", "focal lengths"),
        ("k: [500, 0,", "k: [500,", "9 numbers"),
        ("d: [0, 0, 0, 0]", "d: [0]", "1 coefficients"),
        ("distortion_model: equidistant", "distortion_model: 5", "distortion_model of rgb is 5"),
        ("width: 640, ", "", "lacks the field 'width'"),
        ("extrinsics: {", "extrinsics: 7 #", "extrinsics is 7"),
    ],
)
def test_wrong_lenses_are_refused_with_what_is_wrong(old, new, text):
    assert old in LENSES
    with pytest.raises(CalibrationError) as caught:
        parse_calibration(LENSES.replace(old, new))
    assert text in str(caught.value)


def test_what_is_no_text_or_too_much_is_refused_quickly(tmp_path):
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    cases = {
        b"\xff\xfe\x00": "no text",
        b"x" * (MAX_BYTES + 1): "more than",
        b"": "does not begin",
        b"[" * 50_000: "not valid YAML",
        (GOOD + laughs).encode(): "aliases",
        (laughs + GOOD.replace("version: 1", "version: *a39")).encode(): "aliases",
    }
    for number, (content, text) in enumerate(cases.items()):
        path = tmp_path / f"{number}.yaml"
        path.write_bytes(content)
        with pytest.raises(CalibrationError, match=text) as caught:
            read_calibration(path)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b"])
def test_a_path_without_a_file_says_where_it_looked(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CalibrationError) as caught:
        read_calibration(name)
    assert "can't be read" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_relative_paths_count_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "cameras.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert read_calibration("cameras.yaml") == parse_calibration(GOOD)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert read_calibration("~/cameras.yaml") == parse_calibration(GOOD)


def test_a_file_that_can_t_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "sub" / "cameras.yaml"
    write_calibration(path, parse_calibration(GOOD))
    assert yaml.safe_load(path.read_text())["method"] == "homography"
    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(CalibrationError, match="No space left"):
        write_calibration(path, parse_calibration(LENSES))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["cameras.yaml"]
