"""People whom smoke hides from the RGB camera: who sees them in the fused image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_fusion_ros.errors import ImageFormatError, ParameterError, SourceError
from sage_fusion_ros.evaluation.comparison.contenders import Contender, LoadedPair, make_pair
from sage_fusion_ros.evaluation.comparison.perceivers import PerceptionReader
from sage_fusion_ros.evaluation.detectors import DetectedBoxes, Detector
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.sources.video import VideoSource

PERSON = "person"
SEEN_SCORE, SEEN_OVERLAP = 0.3, 0.3
_PART = 24  # frames a job looks at: several jobs a clip, so that all processes have some

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SmokeClip:
    """Two videos of the same moments, called by the stem of the first."""

    rgb: Path
    thermal: Path

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.rgb.stem


@dataclass(frozen=True)
class SmokePart:
    """Some frames of a clip."""

    clip: SmokeClip
    frames: tuple[int, ...]

    @property
    def key(self) -> str:
        """Clip, first and last frame."""
        return f"{self.clip.name}, frames {self.frames[0]} to {self.frames[-1]}"


@dataclass
class SmokeResult:
    """What was seen in some frames of a clip.

    Attributes:
        part: Which frames.
        looked: Those that could be read.
        hidden: Those in which the reference sees nobody in RGB and somebody in thermal.
        seen: By reader and contender, those of the hidden ones in which it sees one of these persons.
        skipped: What could not be done, as (name, reason).
    """

    part: SmokePart
    looked: list[int] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)
    seen: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def parse_smoke_clip(text: str) -> SmokeClip:
    """Reads "RGB.mp4,THERMAL.mp4".

    Raises:
        ParameterError: It is of another form.
    """
    rgb, comma, thermal = text.partition(",")
    if not (rgb and comma and thermal) or "," in thermal:
        raise ParameterError(f"the smoke clip is '{text}'; expected two videos as RGB.mp4,THERMAL.mp4")
    return SmokeClip(Path(rgb), Path(thermal))


def smoke_parts(clip: SmokeClip, step: int) -> list[SmokePart]:
    """Every step-th frame of a clip, from the first on, in parts.

    Raises:
        SourceError: A video can't be opened.
    """
    source = VideoSource(clip.rgb, clip.thermal)
    frames = range(0, len(source), step)
    source.close()
    return [SmokePart(clip, tuple(frames[start : start + _PART])) for start in range(0, len(frames), _PART)]


def read_frame(clip: SmokeClip, source: VideoSource, index: int) -> LoadedPair:
    """One frame as the networks see it.

    Raises:
        SourceError: It can't be read.
    """
    pair = source.read(index)
    return make_pair(f"{clip.name}/{index:05d}", pair.rgb, ThermalNormaliser()(pair.thermal))


def measure_smoke(
    part: SmokePart,
    contenders: Mapping[str, Contender],
    detectors: Mapping[str, Detector],
    readers: Mapping[str, PerceptionReader],
) -> SmokeResult:
    """Finds the frames in which smoke hides people, and who sees them there.

    Args:
        part: Which frames.
        contenders: Who fuses, the two sources among them.
        detectors: The references; the first one says who is hidden.
        readers: Perception models; of five folds the first reads, since clips are no part of the sets they share out.
    """
    result = SmokeResult(part)
    reference = next(iter(detectors.values()))
    source = VideoSource(part.clip.rgb, part.clip.thermal)
    try:
        for index in part.frames:
            pair = read_frame(part.clip, source, index)
            result.looked.append(index)
            warm = people(reference.detect(contenders["thermal"].fuse(pair).rgb))
            if len(people(reference.detect(pair.rgb))) or not len(warm):
                continue
            result.hidden.append(index)
            for name, contender in contenders.items():
                rgb = contender.fuse(pair).rgb
                found = {other: detector.detect(rgb) for other, detector in detectors.items()}
                found |= {other: reader.boxes(rgb, 0) for other, reader in readers.items() if reader.detects}
                for other, boxes in found.items():
                    own = result.seen.setdefault((other, name), [])
                    if overlaps(people(boxes), warm):
                        own.append(index)
    except (SourceError, ImageFormatError) as error:
        result.skipped.append((f"{part.key}, from {len(result.looked)} on", str(error)))
    finally:
        source.close()
    return result


def people(boxes: DetectedBoxes) -> Floats:
    """float32 Nx4: the persons of a score of 0.3 and more."""
    chosen = [label == PERSON and score >= SEEN_SCORE for label, score in zip(boxes.labels, boxes.scores, strict=True)]
    return boxes.xyxy[np.array(chosen, bool)]


def overlaps(found: Floats, wanted: Floats) -> bool:
    """Whether any found box has an intersection over union of 0.3 and more with any of the wanted ones."""
    return any(_iou(one, other) >= SEEN_OVERLAP for one in found.tolist() for other in wanted.tolist())


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both) if areas > both else 0.0
