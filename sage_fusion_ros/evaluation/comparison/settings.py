"""What a comparison is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.evaluation.comparison.contenders import LUMA
from sage_fusion_ros.evaluation.comparison.perceivers import JUDGED
from sage_fusion_ros.evaluation.metrics.profiles import METRICS, PROFILES

BOXES = ("all", "scored")


@dataclass(frozen=True)
class Settings:
    """What is compared on what.

    Attributes:
        data: Folders of pairs, each a set; folders of videos count as clips.
        models: Names or folders of fusion models, with or without "name=" before them; empty: all that are installed.
        results: "name=folder" of fused images that others made.
        profile, metrics: See evaluation.metrics.profiles; no metrics: all.
        luma: "saved" or "network"; see load_contenders.
        split: YAML file whose section `split` says what is kept out of training; only that is scored.
        baselines: JSON files with figures of others; then only the pairs they list are scored.
        detectors: ONNX files.
        boxes: Which boxed pairs detectors look at: "all" or "scored".
        perception: Names or folders of perception models, with or without "name=" before them.
        perception_folds: Folders that hold fold0 to fold4, likewise; see perceivers.PerceptionSpec.
        boxed: Boxed pairs on which perception models are judged: "validation" or "all"; empty: those of validation for
            models, and all for folds.
        mask_pairs: Text files with the pairs on which masks are judged, each by itself; empty: the project's own two.
        smoke_clips: "RGB.mp4,THERMAL.mp4": what is hidden by smoke in RGB; the first detector says what that is.
        smoke_step: Every n-th frame of these is looked at.
        overlays: Pairs of the sets, and frames of each smoke clip, shown with mask and boxes.
        clips: Folders of videos or of consecutive frames.
        clip_frames: At most so many frames of a clip, from the first on; 0: all.
        noise: Standard deviations of the sensor noise of still scenes, as shares of full scale.
        still_pairs: Pairs of each set taken as still scenes.
        pictures: Pairs shown on the page.
        limit: At most so many scored pairs of a set, evenly spread; 0: all.
        processes: How many work at the same time.
    """

    data: Sequence[Path] = ()
    models: Sequence[str] = ()
    results: Sequence[str] = ()
    profile: str = "standard"
    metrics: Sequence[str] = METRICS
    luma: str = "saved"
    split: Path | None = None
    baselines: Sequence[Path] = ()
    detectors: Sequence[Path] = ()
    boxes: str = "all"
    perception: Sequence[str] = ()
    perception_folds: Sequence[str] = ()
    boxed: str = ""
    mask_pairs: Sequence[Path] = ()
    smoke_clips: Sequence[str] = ()
    smoke_step: int = 5
    overlays: int = 6
    clips: Sequence[Path] = ()
    clip_frames: int = 90
    noise: Sequence[float] = (0.01, 0.02, 0.04)
    still_pairs: int = 3
    pictures: int = 12
    limit: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        for name, known in (("profile", PROFILES), ("luma", LUMA), ("boxes", BOXES)):
            if getattr(self, name) not in known:
                raise ParameterError(f"{name} is '{getattr(self, name)}'; expected one of {', '.join(known)}")
        if unknown := [metric for metric in self.metrics if metric not in METRICS]:
            raise ParameterError(f"there is no metric '{unknown[0]}'; there are {', '.join(METRICS)}")
        if not self.data and not self.clips and not self.smoke_clips:
            raise ParameterError("nothing to evaluate; give --data, --clips or --smoke-clip")
        if self.boxed not in ("", *JUDGED):
            raise ParameterError(f"boxed is '{self.boxed}'; expected one of {', '.join(JUDGED)}")
        if self.smoke_clips and not self.detectors:
            raise ParameterError("a smoke clip needs a detector that says who is hidden in it; give --detector")
        for name in ("clip_frames", "still_pairs", "pictures", "limit", "overlays"):
            if getattr(self, name) < 0:
                raise ParameterError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if min(self.processes, self.smoke_step) < 1 or self.clip_frames == 1:
            raise ParameterError("processes and smoke_step must be 1 or more, clip_frames 0 or 2 and more")
        if not all(0 <= sigma <= 1 for sigma in self.noise):
            raise ParameterError("noise must be in 0..1")

    def as_dict(self) -> dict[str, Any]:
        """As the user gave them, ready for JSON."""
        return {
            name: [str(entry) if isinstance(entry, Path) else entry for entry in value]
            if isinstance(value, (list, tuple))
            else (str(value) if isinstance(value, Path) else value)
            for name, value in asdict(self).items()
        }
