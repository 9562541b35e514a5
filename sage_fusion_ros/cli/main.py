"""sage-fusion: one command, a verb for each job. A verb's module is loaded only when it is used."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from sage_fusion_ros.errors import SageFusionError

# verb: (module, help). Modules are not imported for the help text, so that torch stays out of a robot's way.
VERBS = {
    "demo": ("demo", "replay a source through fusion_node over ROS 2 and write a report"),
    "fuse": ("fuse", "fuse image files or folders without ROS"),
    "calibrate": ("calibrate", "find how the thermal image lies in the RGB image"),
    "bag": ("bag", "make bags of recordings, or fuse bags offline (needs the extra 'bags')"),
    "evaluate": ("evaluate", "compare fusion models in figures and pictures (needs the extra 'evaluate')"),
    "bench": ("bench", "time models, or the node against a bare loop"),
    "train": ("train", "train a fusion model (needs the extra 'train')"),
    "masks": ("masks", "find the masks of a semantic prior ahead of training (needs the extra 'train')"),
    "models": ("models", "list the models at hand; int8 files and the published SAGE student (need the extra 'train')"),
    "export": ("export", "turn a training checkpoint into a model folder (needs the extra 'train')"),
}

# Packages that are not there in the smallest installation, and the extra that brings each.
EXTRAS = {"torch": "train", "onnx": "train", "safetensors": "train", "matplotlib": "report", "jinja2": "report"}
EVALUATE = {"skimage", "sklearn", "pycocotools", "jinja2"}


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; 0 on success, 2 with one line of text for an error the user can act on, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="sage-fusion", description="Thermal + RGB fusion.")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    chosen = argv[0] if argv and argv[0] in VERBS else None
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        for verb, (module, help_text) in VERBS.items():
            if verb == chosen:
                importlib.import_module(f"sage_fusion_ros.cli.{module}").add_parser(subparsers)
            else:
                subparsers.add_parser(verb, help=help_text)
        args = parser.parse_args(argv)
        return int(importlib.import_module(f"sage_fusion_ros.cli.{VERBS[args.verb][0]}").run(args))
    except SageFusionError as error:
        print(f"sage-fusion: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        needed = "evaluate" if chosen == "evaluate" and package in EVALUATE else EXTRAS.get(package)
        if needed is None:
            raise
        print(f"sage-fusion: '{chosen}' needs {package}: pip install 'sage_fusion_ros[{needed}]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
