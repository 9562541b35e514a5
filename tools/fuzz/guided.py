"""The same cases, guided by coverage: atheris feeds the choices, and keeps those that reach something new.

    python tools/fuzz/guided.py raw fuzz_output/corpus_raw -runs=1000000

The words after the folder of the corpus are libFuzzer's own. An empty corpus begins with choices by chance, since from
a few bytes every choice would be the first. It needs atheris (the extra "fuzz").
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sage_fusion_ros.pipeline", "sage_fusion_ros.engines", "sage_fusion_ros"]):
    from targets import TARGETS

from chooser import FedChooser

SEEDS, LENGTH = 64, 4096


def main() -> None:
    """Runs until libFuzzer ends; a fault ends it with the bytes that led to it in a file beside the run."""
    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"expected a target ({', '.join(TARGETS)}) and the folder of its corpus")
    target, corpus = TARGETS[sys.argv[1]], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for number in range(SEEDS):
            (corpus / f"seed{number}").write_bytes(random.Random(number).randbytes(LENGTH))

    def once(data: bytes) -> None:
        target.test(target.make(FedChooser(atheris.FuzzedDataProvider(data))))

    atheris.Setup([sys.argv[0], f"-max_len={LENGTH}", "-len_control=0", "-rss_limit_mb=4096", *sys.argv[2:]], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
