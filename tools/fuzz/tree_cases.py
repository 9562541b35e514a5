"""Model cards, calibration files and CameraInfo: valid ones, with values, keys and the text of the file spoilt."""

from __future__ import annotations

import copy
import functools
import math
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from chooser import Chooser

from sage_fusion_ros.engines.card import CARD_NAME, read_card
from sage_fusion_ros.errors import CalibrationError, ModelError
from sage_fusion_ros.pipeline.camera_info import camera_info_problem, camera_model, image_size
from sage_fusion_ros.sources.calibration_file import calibration_text, parse_calibration

CARD = {
    "name": "model",
    "task": "perception",
    "sha256": "0" * 64,
    "licence": "Apache-2.0",
    "file": "model.onnx",
    "inputs": [{"name": "rgb", "dtype": "float32", "range": [0.0, 1.0]}],
    "outputs": [{"name": "mask"}, {"name": "boxes"}],
    "size_multiple": 32,
    "mask_classes": ["road", "sky"],
    "detection_classes": ["person"],
    "input_side": 640,
    "parameters": 1000,
    "training": {"data": ["a", "b"], "steps": 10},
}
LENS = {
    "width": 64,
    "height": 48,
    "k": [60.0, 0, 32, 0, 60, 24, 0, 0, 1],
    "distortion_model": "plumb_bob",
    "d": [0.1] * 5,
}
CALIBRATIONS = (
    {
        "format": "sage_fusion_calibration",
        "version": 1,
        "method": "homography",
        "rgb_size": [64, 48],
        "thermal_size": [32, 24],
        "homography": [[0.5, 0.0, 1.0], [0.0, 0.5, 2.0], [0.0, 0.0001, 1.0]],
        "report": {"error_px": 0.5},
    },
    {
        "format": "sage_fusion_calibration",
        "version": 1,
        "method": "calibrated",
        "rgb": LENS,
        "thermal": {**LENS, "distortion_model": "equidistant", "d": [0.01] * 4},
        "extrinsics": {"translation": [0.1, 0, 0], "quaternion": [0.0, 0.0, 0.0, 1.0]},
    },
)
_VALUES = (
    *(None, True, "", "x" * 300, "../../etc/passwd", "/etc/passwd", "a\0b", [], {}, [[]], 0, -1, 1 << 62, 10**400),
    *(1e308, -1e308, 1e-320, math.inf, -math.inf, math.nan, [math.nan] * 9, [1] * 9, "1", "\U0001f600", {"a": {}}),
)
# What is put among the lines of a file: tags, aliases, dates that are none, depth, and what is no text.
_LINES = (
    *("a: &a [x, x]\nb: *a", "<<: {name: other}", "v: !!int ''", "v: !!bool perhaps", "v: !!timestamp never"),
    *("v: 2024-99-99", "v: !!binary '%'", "v: !!python/object/apply:os.system [ls]", "? [a, b]\n: c", "v: !!float ''"),
    *("v: " + "[" * 60 + "]" * 60, "v: " + "[" * 3000, "name: twice\nname: again", "\t- tab", "v: 'open", "- - -"),
    *("v: 0x", "v: 1e999", "v: 190:20:30:99", "v: !!set {a, b}", "v: !!omap [a]", "%YAML 9.9", "---\nsecond: 1", "\0"),
)


def spoilt(tree: Any, choose: Chooser) -> Any:
    """A copy of a tree with one place changed: a value, a key, or a part of it inside out."""
    tree = copy.deepcopy(tree)
    node: Any = tree
    while True:  # down to a place, each as likely as it is deep
        inside = list(node) if isinstance(node, dict) else range(len(node))
        if not inside:
            return tree
        key = choose.pick(inside)
        if isinstance(node[key], (dict, list)) and not choose.chance(3):
            node = node[key]
            continue
        break
    what = choose.below(6)
    if what < 3:
        node[key] = choose.pick(_VALUES)
    elif what == 3:
        del node[key]
    elif what == 4:
        node[key] = [node[key]] * choose.pick((1, 2, 300))
    elif isinstance(node, dict):
        node[choose.pick(("colour", 7, None, (1, 2), "name"))] = choose.pick(_VALUES)
    else:
        node.append(choose.pick(_VALUES))
    return tree


def text_of(tree: Any, choose: Chooser) -> str:
    """The file's text, at times with a line more, a letter less, or all of it twice."""
    for _ in range(choose.pick((0, 1, 1, 2))):
        tree = spoilt(tree, choose)
    text = _dump(tree)
    what = choose.below(8)
    if what == 0:
        lines = text.splitlines()
        lines.insert(choose.below(len(lines) + 1), choose.pick(_LINES))
        return "\n".join(lines)
    if what == 1 and text:
        place = choose.below(len(text))
        return text[:place] + choose.pick(("", ":", "\n", "&", "*", "!", "{", "'")) + text[place + 1 :]
    if what == 2:
        return text + choose.pick(_LINES)
    return text


def _dump(tree: Any) -> str:
    try:
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, ValueError):  # keys and numbers that even YAML can't write
        return repr(tree)


def brief(text: str, word: str) -> str:
    """The word, once the text has been held to what a log can bear."""
    assert len(text) < 2000, len(text)
    return word


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz_card_"))


def make_card(choose: Chooser) -> str:
    """The text of a card.yaml."""
    return text_of(CARD, choose)


def test_card(text: str) -> str:
    """Reads a card; see image_cases.test."""
    folder = _folder()
    (folder / CARD_NAME).write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        card = read_card(folder)
    except ModelError as error:
        return brief(str(error), "refused")
    assert (folder / card.file).parent == folder
    assert "/" not in card.file
    assert all(math.isfinite(bound) for tensor in (*card.inputs, *card.outputs) for bound in tensor.range)
    return "read"


def make_calibration(choose: Chooser) -> str:
    """The text of a calibration file."""
    return text_of(choose.pick(CALIBRATIONS), choose)


def test_calibration(text: str) -> str:
    """Reads a calibration and asks it where a point lies; see image_cases.test."""
    try:
        found = parse_calibration(text)
    except CalibrationError as error:
        return brief(str(error), "refused")
    if found.homography is not None:
        size = found.homography.rgb_size
        with np.errstate(all="ignore"):
            points = found.homography.thermal_points(np.array([[1.0, 2.0]]), size, found.homography.thermal_size)
        assert points.shape == (1, 2)
    if not found.report:
        assert parse_calibration(calibration_text(found)) == found
    return "read"


def make_info(choose: Chooser) -> Any:
    """A message with the fields of sensor_msgs/CameraInfo."""
    roi = {"x_offset": 0, "y_offset": 0, "width": 0, "height": 0}
    tree = {
        "width": 64,
        "height": 48,
        "distortion_model": choose.pick(
            ("plumb_bob", "plumb_bob", "equidistant", "", "rational_polynomial", "x" * 300)
        ),
        "d": [0.01] * choose.pick((0, 0, 4, 5, 5, 8, 14)),
        "k": [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0],
        "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "p": [60.0, 0.0, 32.0, 0.0, 0.0, 60.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "binning_x": choose.pick((0, 0, 0, 1, 1, 2, 64, 2**32 - 1)),
        "binning_y": choose.pick((0, 0, 0, 1, 1, 2, 48, 2**32 - 1)),
    }
    for _ in range(choose.pick((0, 1, 2, 3))):  # ROS holds the types: numbers stay numbers
        field = choose.pick(("width", "height", "d", "k", "r", "p", "roi"))
        if field in ("width", "height"):
            tree[field] = choose.number(tree[field])
        elif field == "roi":
            roi = {name: choose.number(8) for name in roi}
        elif tree[field]:
            tree[field][choose.below(len(tree[field]))] = choose.pick([v for v in _VALUES if isinstance(v, float)])
    header = SimpleNamespace(frame_id=choose.pick(("camera", "", "y" * 300)))
    return SimpleNamespace(**tree, roi=SimpleNamespace(**roi), header=header)


def test_info(info: Any) -> str:
    """Reads a CameraInfo as the node does; see image_cases.test."""
    if problem := camera_info_problem(info):
        return brief(problem, "refused")
    assert all(side >= 0 for side in image_size(info))
    try:
        with np.errstate(all="ignore"):
            model, turn = camera_model(info, rectified=False)
            rays = model.rays(np.array([[1.0, 2.0]]))
    except CalibrationError as error:
        return brief(str(error), "no lens")
    assert turn.shape == (3, 3)
    assert rays.shape[0] == 1
    return "read"
