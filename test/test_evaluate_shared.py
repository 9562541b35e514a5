"""sage-fusion evaluate against the figures that come with the shared data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from mock_models import make_model

from sage_fusion_ros.cli import evaluate


def test_plain_ways_of_fusing_score_as_the_shared_figures_say(tmp_path: Path, shared_data: Path, project: Path) -> None:
    """The same pairs by the split and by the list, and the average and the maximum with the same six figures."""
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    given = shared_data / "fusion_baselines.json"
    words = [
        "evaluate",
        "--data",
        shared_data / "msrs",
        "--models",
        make_model(tmp_path / "m" / "mock"),
        "--luma",
        "network",
    ]
    words += ["--split", project / "config" / "train" / "sage_fast.yaml", "--baselines", given, "--output", tmp_path]
    words += ["--metrics", "EN", "SD", "SF", "AG", "SCD", "Qabf", "--pictures", 0, "--still-pairs", 0]
    assert evaluate.run(parser.parse_args(list(map(str, words)))) == 0
    report = json.loads((tmp_path / "evaluation.json").read_text())
    theirs = json.loads(given.read_text())
    assert len(report["images"]) == len(theirs["images"]["msrs"]) == 4
    for method in ("average", "maximum"):
        means = theirs["means"]["msrs"][method]
        ours = report["means"]["sets"]["msrs"][method]
        assert {name: ours[name] for name in means} == pytest.approx(means, abs=5e-4)
