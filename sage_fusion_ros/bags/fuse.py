"""Fuses a whole bag offline: every pair, in order, the same bytes every time; goes on where it was interrupted."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage_fusion_ros.bags.checkpoint import (
    CHECKPOINT_FILE,
    JOB_FILE,
    read_checkpoint,
    read_json,
    write_checkpoint,
    write_json,
)
from sage_fusion_ros.bags.job import FuseJob
from sage_fusion_ros.bags.outputs import Outputs
from sage_fusion_ros.bags.pairs import pair_bag
from sage_fusion_ros.bags.registration import make_registrar
from sage_fusion_ros.bags.report import REPORT_FILE, Tally, Times, build_report
from sage_fusion_ros.bags.work_folder import WorkFolder
from sage_fusion_ros.bags.writer import BagWriter
from sage_fusion_ros.errors import SageFusionError, SourceError
from sage_fusion_ros.pipeline.fuse import Fuser, load_fuser
from sage_fusion_ros.pipeline.fusion_pipeline import FusionPipeline
from sage_fusion_ros.pipeline.pairing import Match
from sage_fusion_ros.pipeline.perceive import Perceiver, load_perceiver
from sage_fusion_ros.pipeline.thermal import ThermalNormaliser
from sage_fusion_ros.pipeline.types import Frame, FramePair
from sage_fusion_ros.sources.bag import BagSource
from sage_fusion_ros.sources.base import CAMERAS

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fused:
    """What became of a bag.

    Attributes:
        report: As in report.json of the fused bag.
        already: It had been fused before, by the same job; nothing was done.
    """

    report: dict[str, Any]
    already: bool = False


def fuse_bag(job: FuseJob, progress: Progress | None = None, *, restart: bool = False) -> Fused:
    """Fuses a bag.

    Under the target's name is the whole fused bag or nothing. An interrupted run leaves `.<name>.partial` beside it,
    with files that are whole each by itself; the same job goes on after the last of them, and comes to the same bytes.

    Args:
        job: What to do.
        progress: Called with pairs done and pairs in all.
        restart: Throw away what an interrupted run left, instead of going on with it.

    Raises:
        SourceError: The bag can't be read, has no pairs, or the target exists or can't be written.
        SageFusionError: A model or a setting can't be used.
    """
    identity = job.identity()
    if (report := finished_report(job.target)) is not None and report.get("job") == identity:
        return Fused(report, already=True)
    with WorkFolder(job.target) as work:
        if restart:
            work.empty()
        _take_up(work, identity)
        try:
            report = _fuse(job, identity, work, progress or (lambda done, total: None))
        except Exception:
            if not (work.root / CHECKPOINT_FILE).exists():
                work.discard()
            raise
        return Fused(report)


def finished_report(target: Path) -> dict[str, Any] | None:
    """The report of a bag that was fused before; None where there is none."""
    try:
        report = json.loads((target / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def _take_up(work: WorkFolder, identity: dict[str, Any]) -> None:
    """Makes sure that what an interrupted run left belongs to the same job; clears away what nobody can go on with."""
    path = work.root / JOB_FILE
    if not (work.root / CHECKPOINT_FILE).exists():
        work.empty()
        write_json(path, identity)
        return
    before = read_json(path)
    changed = sorted(name for name in before.keys() | identity.keys() if before.get(name) != identity.get(name))
    if changed:
        raise SourceError(
            f"'{work.root}' holds an interrupted run that differs in {', '.join(changed)}; finish that one with its "
            "own arguments, or throw it away with --restart"
        )


def _fuse(job: FuseJob, identity: dict[str, Any], work: WorkFolder, progress: Progress) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        topics = {f"{camera}_topic": name for camera, name in job.topics.items()}
        source = stack.enter_context(contextlib.closing(BagSource(job.bag, **topics)))
        found = pair_bag(source, job.pairing)
        if not found.matches:
            raise SourceError(
                f"'{job.bag}': none of {len(source)} images on {source.topic('rgb')} has a partner on "
                f"{source.topic('thermal')} within {job.pairing.max_dt_ns / 1e6:g} ms; set pairing.thermal_offset_ms "
                "or pairing.max_dt_ms, or pairing.hold_ms where the two were recorded at different times"
            )
        registrar = make_registrar(job.registration, source)
        fuser, perceiver = _load(job, stack)
        classes = (perceiver.mask_classes, perceiver.detection_classes) if perceiver else ((), ())
        outputs = Outputs(job.outputs, *classes, source.camera_infos("rgb"))
        normaliser = ThermalNormaliser(job.thermal)
        pipeline = FusionPipeline(fuser, normaliser, registrar=registrar, perceiver=perceiver, **job.pipeline)
        tally, files = read_checkpoint(work)
        normaliser.state = (tally.thermal_range, tally.thermal_stamp_ns)
        writer = BagWriter(work.bag, work.root / "scratch", outputs.topics(), job.storage, files)
        stack.callback(writer.abort)
        writer.custom = {
            "sage_fusion.job": json.dumps(identity, sort_keys=True),
            "sage_fusion.stamps": f"those of '{job.bag.name}', as fusion_node would give them",
        }
        run = _Run(source, pipeline, outputs, writer, tally)
        for match in found.matches[tally.pairs :]:
            run.fuse(match)
            if writer.size >= job.file_bytes:
                writer.cut()
                write_checkpoint(work, tally, normaliser, writer)
            progress(tally.pairs, len(found.matches))
        if not tally.fused:
            raise SourceError(f"'{job.bag}': no pair could be fused; the first: {tally.skipped[0][1]}")
        writer.finish()
        drive = job.pairing.drive
        report = build_report(
            identity,
            tally,
            run.times,
            frames={camera: len(source.camera_stamps(camera)) for camera in CAMERAS},
            stamps_ns=source.camera_stamps("rgb" if drive == "rgb" else "thermal"),
            drive=drive,
            unpaired=found.unpaired,
            jumps=found.jumps,
            devices=_devices(fuser, perceiver),
            notes=source.skipped,
        )
        write_json(work.bag / REPORT_FILE, report)
        work.publish()
        return report


class _Run:
    """One run over the pairs of a bag."""

    def __init__(
        self, source: BagSource, pipeline: FusionPipeline, outputs: Outputs, writer: BagWriter, tally: Tally
    ) -> None:
        self.times = Times()
        self._source, self._pipeline, self._outputs, self._writer = source, pipeline, outputs, writer
        self._tally = tally
        self._began = time.perf_counter()

    def fuse(self, match: Match) -> None:
        """Fuses one pair and writes its messages; one that can't be read is counted and named."""
        tally = self._tally
        tally.pairs += 1
        try:
            frames = [self._frame(arrival.camera, arrival.payload, arrival.stamp_ns) for arrival in _both(match)]
            result = self._pipeline.process(FramePair(*frames), self._outputs.wants)
        except SageFusionError as error:
            tally.skipped.append((f"{tally.pairs - 1}, stamp {match.stamp_ns}", str(error)))
            return
        # A bag's times never run backwards, even where a pair was certain only after a later one.
        tally.last_ns = max(tally.last_ns, match.arrived_ns)
        if not tally.fused:
            for topic, message in self._outputs.labels(match.stamp_ns):
                self._writer.write(topic, tally.last_ns, message)
        for topic, message in self._outputs.messages(match, frames[0].frame_id, result):
            self._writer.write(topic, tally.last_ns, message)
        tally.fused += 1
        self.times.add(time.perf_counter() - self._began, result.timings_ms)

    def _frame(self, camera: Any, index: int, stamp_ns: int) -> Frame:
        image, frame_id = self._source.read_framed(camera, index)
        return Frame(stamp_ns, frame_id, image)


def _both(match: Match) -> Iterator[Any]:
    yield match.rgb
    yield match.thermal


def _load(job: FuseJob, stack: contextlib.ExitStack) -> tuple[Fuser, Perceiver | None]:
    fuser = load_fuser(job.fusion_model, job.engine)
    stack.callback(fuser.close)
    perceiver = load_perceiver(job.perception, job.engine)
    if perceiver is not None:
        stack.callback(perceiver.close)
    return fuser, perceiver


def _devices(fuser: Fuser, perceiver: Perceiver | None) -> dict[str, str]:
    devices = {fuser.card.name: fuser.engine.info.provider}
    if perceiver is not None:
        devices |= {name: info.provider for name, info in zip(perceiver.names, perceiver.infos, strict=True)}
    return devices
