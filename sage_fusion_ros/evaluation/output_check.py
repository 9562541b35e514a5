"""Holds the masks and detections that arrived against the fused images: one each, under the very same header."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from sage_fusion_ros.evaluation.recording import OUTPUTS, Found, Fused, Mask, Recording

EXAMPLES = 5
DISCOVERY_S = 1.0


@dataclass(frozen=True)
class OutputCheck:
    """Outcome for one of mask and detections.

    Attributes:
        counted: Fused images it was held against.
        before_discovery: First ones, not counted: DDS had not yet connected this output.
        missing: Counted fused images without it under their stamp.
        other_header: Messages with a stamp that no fused image had, or with another frame_id than it.
        other_size: Masks of another width or height than their fused image.
        repeated: Messages under a stamp that had already come.
        examples: A few of these, in words.
    """

    counted: int
    before_discovery: int
    missing: int
    other_header: int
    other_size: int = 0
    repeated: int = 0
    examples: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Fields by name, for the report."""
        return asdict(self)


def check_outputs(
    run: Recording, wanted: Collection[str], name_of: Callable[[int], str] = lambda stamp_ns: f"stamp {stamp_ns}"
) -> dict[str, OutputCheck]:
    """Checks each of the outputs wanted.

    Args:
        run: The recording.
        wanted: Those of mask and detections that should be there.
        name_of: What to call the pair with a stamp, in examples.
    """
    sent = {"mask": run.masks, "detections": run.detections}
    return {output: _check(run.fused, sent[output], name_of) for output in OUTPUTS if output in wanted}


def output_failures(run: Recording, checks: dict[str, OutputCheck]) -> list[str]:
    """Why this run's masks and detections do not pass, in words; empty when they do."""
    reasons = []
    for output, check in checks.items():
        if output in run.unavailable:
            reasons.append(f"the {output} could not be recorded: {run.unavailable[output]}")
            continue
        if output not in run.classes:
            reasons.append(f"no class names came on ~/output/{output}/label_info")
        told = f", for example {'; '.join(check.examples)}" if check.examples else ""
        if check.missing:
            reasons.append(f"{check.missing} of {check.counted} fused images have no {output}{told}")
        if check.other_header:
            reasons.append(f"{check.other_header} messages of {output} have a header that no fused image had{told}")
        if check.other_size:
            reasons.append(f"{check.other_size} messages of {output} have another size than their fused image{told}")
        if check.repeated:
            reasons.append(f"{check.repeated} messages of {output} came under a stamp used before{told}")
    return reasons


def _check(fused: list[Fused], sent: list[Mask] | list[Found], name_of: Callable[[int], str]) -> OutputCheck:
    by_stamp = {one.stamp_ns: one for one in fused}
    stamps = [one.stamp_ns for one in sent]
    there = set(stamps)
    before = _before_discovery(fused, there)
    counted = fused[before:]
    # The fused image of one that came before the first fused image was itself lost to discovery.
    first = fused[0].stamp_ns if fused else 0
    missing = [one.stamp_ns for one in counted if one.stamp_ns not in there]
    astray, misframed, missized = [], [], []
    for one in sent:
        partner = by_stamp.get(one.stamp_ns)
        if partner is None:
            if one.stamp_ns >= first:
                astray.append(one.stamp_ns)
        elif partner.frame_id != one.frame_id:
            misframed.append(f"frame_id '{one.frame_id}' beside '{partner.frame_id}'")
        elif isinstance(one, Mask) and partner.size != one.size:
            missized.append(f"{one.size[0]}x{one.size[1]} beside {partner.size[0]}x{partner.size[1]}")
    examples = [*map(name_of, [*missing[:EXAMPLES], *astray[:EXAMPLES]]), *misframed, *missized]
    return OutputCheck(
        counted=len(counted),
        before_discovery=before,
        missing=len(missing),
        other_header=len(astray) + len(misframed),
        other_size=len(missized),
        repeated=len(stamps) - len(there),
        examples=examples[:EXAMPLES],
    )


def _before_discovery(fused: list[Fused], there: set[int]) -> int:
    """How many of the first fused images came before this output was connected; none where it never came."""
    if not there:
        return 0
    for count, one in enumerate(fused):
        if one.stamp_ns in there or one.stamp_ns - fused[0].stamp_ns >= DISCOVERY_S * 1e9:
            return count
    return 0
