#!/usr/bin/env python3
"""Trains every arm of an ablation with every seed, scores all of them in one evaluation, and writes the table.

    python tools/ablation.py config/train/sage_ablation.yaml --data DIR [DIR ...] --out runs/ablation
        --feature-network perception --task-network perception [--detector FILE ...] [--perception perception]

Arms that are finished are not trained again, an interrupted one goes on. The table has the mean over the seeds and
half the distance between the best and the worst of them.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

METRICS = ("EN", "SD", "SF", "AG", "SCD", "Qabf")


def main() -> int:
    """Runs it; 0 when the table was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="base settings, seeds and arms")
    parser.add_argument("--data", nargs="+", required=True, help="folders of pairs to train on")
    parser.add_argument("--judge", nargs="+", help="folders of pairs to score (default: those of --data)")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs, models and the table")
    parser.add_argument("--feature-network", help="frozen network of the contrastive term")
    parser.add_argument("--task-network", help="frozen segmentation network of the task term")
    parser.add_argument("--detector", nargs="*", default=[], help="ONNX files of detectors that read the results")
    parser.add_argument("--perception", nargs="*", default=[], help="perception models that read the results")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the trainings (0: all)")
    args = parser.parse_args()
    plan = yaml.safe_load(args.plan.read_text(encoding="utf-8"))
    runs = {(arm, seed): args.out / slug(arm, seed) for arm in plan["arms"] for seed in plan["seeds"]}
    for (arm, seed), folder in runs.items():
        settings = merge(plan["base"], {**plan["arms"][arm], "seed": seed})
        train(settings, folder, args)
    results = evaluate(runs, args)
    table = tabulate(plan, results)
    (args.out / "ablation.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    text = render(table)
    (args.out / "ablation.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def slug(arm: str, seed: int) -> str:
    """A name for folders and models."""
    return f"{re.sub('[^a-z0-9]+', '_', arm.lower())}-{seed}"


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The base with the changes; mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def train(settings: dict[str, Any], folder: Path, args: argparse.Namespace) -> None:
    """Trains an arm, or the rest of it, and exports it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "models" / folder.name
    if (model / "card.yaml").is_file():
        return
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    terms = settings["terms"]
    wanted = (("feature-network", "contrast"), ("task-network", "task"))
    networks = {option: getattr(args, option.replace("-", "_")) for option, term in wanted if terms.get(term, 0) > 0}
    command = ["train", settings["recipe"], "--config", config, "--data", *args.data, "--out", folder / "run"]
    command += [word for option, network in networks.items() for word in (f"--{option}", network)]
    command += ["--masks", args.out / "masks", "--threads", args.threads]
    call(*command, *(["--resume"] if (folder / "run" / "checkpoint.pt").is_file() else []))
    call("export", folder / "run" / "checkpoint.pt", "--output", model)


def evaluate(runs: dict[tuple[str, int], Path], args: argparse.Namespace) -> dict[str, Any]:
    """Scores all runs side by side."""
    models = [f"{folder.name}={folder / 'models' / folder.name}" for folder in runs.values()]
    split = next(iter(runs.values())) / "settings.yaml"
    command = ["evaluate", "--data", *(args.judge or args.data), "--split", split, "--models", *models]
    command += ["--metrics", *METRICS, "--output", args.out / "evaluation", "--pictures", 4]
    command += ["--detector", *args.detector] if args.detector else []
    command += ["--perception", *args.perception] if args.perception else []
    call(*command)
    found: dict[str, Any] = json.loads((args.out / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    return found


def tabulate(plan: dict[str, Any], results: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """By arm and column, the figure of each seed."""
    return {
        arm: {
            column: [value[slug(arm, seed)] for seed in plan["seeds"]]
            for column, value in columns(results).items()
            if all(slug(arm, seed) in value for seed in plan["seeds"])
        }
        for arm in plan["arms"]
    }


def columns(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By column, the figure of each row of an evaluation."""
    found = {
        metric: {row: values[metric] for row, values in results["means"]["overall"].items() if metric in values}
        for metric in METRICS
    }
    for name, detector in results["detectors"].items():
        found[f"AP50 {name}"] = detector["means"]
    perception = results.get("perception") or {}
    readers = [model["name"] for model in perception.get("models", [])]
    for boxes in perception.get("boxes", []):
        for line in boxes["lines"]:
            for kind in ("person", "car") if line["reader"] in readers else ():
                cell = line["cells"]["all sets"][kind]["AP50"]["value"]
                found.setdefault(f"AP50 {kind}, {line['reader']}", {})[line["row"]] = cell
    return found


def render(table: dict[str, dict[str, list[float]]]) -> str:
    """A table in Markdown: mean over the seeds, and half their spread."""
    names = list(dict.fromkeys(column for row in table.values() for column in row))
    lines = ["| arm | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for arm, row in table.items():
        cells = [f"{statistics.mean(row[n]):.3f} ± {(max(row[n]) - min(row[n])) / 2:.3f}" for n in names]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def call(*words: object) -> None:
    """Runs a verb of sage-fusion and stops with its code where it fails."""
    done = subprocess.run([sys.executable, "-m", "sage_fusion_ros.cli.main", *map(str, words)], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    raise SystemExit(main())
