"""What is kept from training, as a rule and against the list of what the baselines are measured on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.sources.layouts import find_pairs
from sage_fusion_ros.sources.split import SplitSettings, read_split, training_names, validation_names
from sage_fusion_ros.training.config import read_settings
from sage_fusion_ros.training.pairs import load_pairs

RECIPES = {
    "sage": "sage",
    "sage_small": "sage",
    "sage_distilled": "sage_distilled",
    "sage_distilled_finish": "sage_distilled",
    "sage_fast": "sage_fast",
    "perception": "perception",
}
JUDGES = ("0111_1716", "0114_1609", "0115_1847")


def recipe_split(project: Path, settings: str) -> SplitSettings:
    return read_settings(project / "config" / "train" / f"{settings}.yaml", RECIPES[settings]).split


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("prefix", ["", "anything/"])
def test_the_judges_are_never_trained_on(project: Path, recipe: str, prefix: str) -> None:
    split = recipe_split(project, recipe)
    held = [f"m3svd_frames/{clip}/0007" for clip in JUDGES]
    held += [f"m3svd_videos/{clip}" for clip in (*JUDGES, "0117_1605")]
    held += ["sage_golden/00003", "metric_oracle/01"]
    held += [f"{name}/{index:03d}" for name in ("roadscene", "msrs", "m3fd") for index in range(0, 20, 5)]
    free = ["m3svd_frames/0111_1803/0000", "m3svd_videos/0113_1714", "tno_masks/Lake"]
    free += [f"{name}/{index:03d}" for name in ("roadscene", "msrs", "m3fd") for index in range(20) if index % 5]
    names = [prefix + name for name in (*held, *free)]
    assert training_names(names, split) == sorted(prefix + name for name in free)


def test_the_rule_holds_back_exactly_what_the_baselines_are_measured_on(project: Path, shared_data: Path) -> None:
    baselines = json.loads((shared_data / "fusion_baselines.json").read_text())["images"]
    split = recipe_split(project, "sage_fast")
    for name, images in baselines.items():
        names = [f"{name}/{pair.name}" for pair in find_pairs(shared_data / name).pairs]
        held = set(names) - set(training_names(names, split))
        measured = {image.replace("/vi/", "/").rsplit(".", 1)[0] for image in images}
        # Of the clips, two frames each are measured and all are held back.
        assert measured <= held if name == "m3svd_frames" else measured == held


def test_all_recipes_hold_back_the_same(project: Path) -> None:
    assert len({recipe_split(project, recipe) for recipe in RECIPES}) == 1


def test_a_video_is_sampled_and_an_excluded_one_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    for folder in ("visible", "infrared"):
        (root / folder).mkdir(parents=True)
        writer = cv2.VideoWriter(str(root / folder / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (64, 48))
        for index in range(10):
            writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
        writer.release()
        (root / folder / "b.mp4").write_bytes(b"never opened")
    pairs = load_pairs([root], SplitSettings(exclude=("clips/b",)), video_stride=4)
    assert [pair.name for pair in pairs] == [f"clips/a/{index:06d}" for index in (0, 4, 8)]
    assert abs(int(pairs[2].rgb_luma.mean()) - 160) < 8
    assert pairs[2].thermal.shape == (48, 64)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_split_alone_reads_as_the_recipe_does(project: Path, recipe: str) -> None:
    split = read_split(project / "config" / "train" / f"{recipe}.yaml")
    assert split == recipe_split(project, recipe)
    names = [f"msrs/{index:03d}" for index in range(10)]
    assert validation_names(names, split) == ["msrs/000", "msrs/005"]


@pytest.mark.parametrize(
    "text",
    ["steps: 3", "split: [msrs]", "split: {every_fift: [msrs]}", "split: {exclude: msrs}", "split: {exclude: [1]}"],
)
def test_a_split_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError, match="split"):
        read_split(tmp_path / "split.yaml")


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"nothing\.yaml can't be read"):
        read_split(tmp_path / "nothing.yaml")
