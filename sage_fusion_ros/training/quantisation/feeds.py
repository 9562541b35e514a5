"""What the pipeline feeds a network for an image, so that integers are fitted to what they will really see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sage_fusion_ros.engines.base import Array, Engine
from sage_fusion_ros.engines.models import ModelFolder
from sage_fusion_ros.pipeline.fuse import load_fuser
from sage_fusion_ros.pipeline.network import NetworkOptions
from sage_fusion_ros.pipeline.perception_network import PerceptionNetwork
from sage_fusion_ros.sources.samples import Sample

CROP = (256, 320)
"""Height and width, at most, of what a fusion network is shown of a pair: all its tensors are kept at a time."""


class _Recorder:
    """An engine that keeps what it was fed last."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.info, self.inputs, self.outputs = engine.info, engine.inputs, engine.outputs
        self.fed: dict[str, Array] = {}

    def run(self, feeds: dict[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        self.fed = {name: array.copy() for name, array in feeds.items()}
        return self._engine.run(feeds, outputs)

    def close(self) -> None:
        self._engine.close()


def cut_out(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """A piece of each pair, no larger than CROP, at a place drawn by a seed."""
    rng = np.random.default_rng(seed)
    pieces = []
    for sample in samples:
        height, width = (min(side, most) for side, most in zip(sample.thermal.shape, CROP, strict=True))
        top, left = (
            int(rng.integers(0, side - part + 1))
            for side, part in zip(sample.thermal.shape, (height, width), strict=True)
        )
        rows, columns = slice(top, top + height), slice(left, left + width)
        pieces.append(Sample(sample.name, sample.rgb[rows, columns].copy(), sample.thermal[rows, columns].copy()))
    return pieces


def fusion_feeds(model: ModelFolder, options: NetworkOptions, samples: Sequence[Sample]) -> Iterator[dict[str, Array]]:
    """What the fp32 fusion model is fed for each pair."""
    fuser = load_fuser(model.path.parent, options)
    recorder = _Recorder(fuser.engine)
    fuser.engine = recorder
    try:
        for sample in samples:
            fuser.fuse(sample.rgb, sample.thermal)
            yield recorder.fed
    finally:
        fuser.close()


def perception_feeds(
    model: ModelFolder, options: NetworkOptions, samples: Sequence[Sample]
) -> Iterator[dict[str, Array]]:
    """What the fp32 perception model is fed for each fused image, which is the samples' `rgb`."""
    perception = PerceptionNetwork(model, options)
    recorder = _Recorder(perception.network.engine)
    perception.network.engine = recorder
    try:
        for sample in samples:
            perception.perceive(
                sample.rgb,
                mask=bool(perception.mask_classes),
                detections=bool(perception.detection_classes),
                score_threshold=1.0,
                iou_threshold=1.0,
            )
            yield recorder.fed
    finally:
        perception.network.close()
