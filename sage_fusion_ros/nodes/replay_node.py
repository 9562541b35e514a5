"""replay_node: plays a synthetic scene, a folder, videos or a bag as an RGB and a thermal camera would publish them."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from builtin_interfaces.msg import Time
from rcl_interfaces.msg import SetParametersResult
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from sage_fusion_ros.errors import ParameterError, SageFusionError
from sage_fusion_ros.nodes.process import run_node
from sage_fusion_ros.nodes.qos import profile
from sage_fusion_ros.nodes.replay_parameters import REPLAY_PARAMETERS, open_wanted, schedule_settings
from sage_fusion_ros.pipeline.image_codec import EncodedImage, encode
from sage_fusion_ros.sources.base import CAMERAS, Camera, RecordedCameras
from sage_fusion_ros.sources.depth import to_encoding
from sage_fusion_ros.sources.feed import Feed
from sage_fusion_ros.sources.schedule import Schedule, Slot

_SECOND = 1_000_000_000
_PROGRESS_S = 5.0
_ACKED_S = 2.0
_SETTLE_S = 0.2
"""A subscriber seen here may see this publisher a moment later; and the last messages need a moment to be taken."""


class ReplayNode(Node):
    """Publishes ~/rgb/image_raw, ~/thermal/image_raw and their camera_info. `play` runs in a thread of its own."""

    def __init__(self) -> None:
        self._player: threading.Thread | None = None  # before rclpy can call destroy_node
        super().__init__("replay_node", automatically_declare_parameters_from_overrides=True)
        self.values = REPLAY_PARAMETERS.declare(self)
        self.add_on_set_parameters_callback(self._refuse_change)
        self.finished = threading.Event()
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._log = _open_log(self.values["log_path"])
        self._source = open_wanted(self.values)
        if self.values["stamps"] == "recorded" and (
            self.values["rate"] or not isinstance(self._source, RecordedCameras)
        ):
            raise ParameterError("parameter stamps is 'recorded', which only a bag at its own rate (rate 0) can give")
        self._schedule = Schedule(self._source, schedule_settings(self.values))
        self._sent = dict.fromkeys(CAMERAS, 0)
        self._late = 0
        qos = profile(self.values["qos.reliability"], self.values["qos.depth"])
        self._images = {camera: self.create_publisher(Image, f"~/{camera}/image_raw", qos) for camera in CAMERAS}
        self._infos = {camera: self.create_publisher(CameraInfo, f"~/{camera}/camera_info", qos) for camera in CAMERAS}
        self._announce()
        self._feed = Feed(self._source, self._schedule, self._prepare)
        self._player = threading.Thread(target=self.play, name="play")
        self._player.start()

    def play(self) -> None:
        """Sends everything at its time, then sets `finished`. Errors are kept in `failure`."""
        try:
            self._wait_for_subscribers()
            self._send_all()
            self._report()
        except Exception as error:  # it ends the process from the main thread, with its message
            self.failure = error
        finally:
            self.finished.set()

    def is_over(self) -> bool:
        """Whether the process may end.

        Raises:
            SageFusionError: The source could not be played.
        """
        if self.finished.is_set() and self.failure is not None:
            raise self.failure
        return self.finished.is_set() and self.values["autoexit"]

    def destroy_node(self) -> None:
        """Ends `play`, then releases the source and the log."""
        if self._player is not None:
            self._stop.set()
            self._feed.close()
            self._player.join()
            self._source.close()
            if self._log is not None:
                with contextlib.suppress(OSError):  # what is still buffered is tried once more, and was told before
                    self._log.close()
        super().destroy_node()

    def _announce(self) -> None:
        source, schedule, logger = self._source, self._schedule, self.get_logger()
        length = "for ever" if schedule.pairs is None else f"{schedule.pairs} pairs"
        logger.info(f"replaying '{source.name}' ({source.kind}): {length} at {schedule.rate_hz:g} Hz")
        if not source.is_sequence:
            logger.warning(
                "these are stills, no sequence: their stamps are made up, and neighbours may not belong together"
            )
        for name, reason in source.skipped[:10]:
            logger.warning(f"left out: {name}: {reason}")
        if len(source.skipped) > 10:
            logger.warning(f"left out: {len(source.skipped) - 10} more")

    def _wait_for_subscribers(self) -> None:
        wanted, deadline = self.values["wait_for_subscribers"], time.monotonic() + self.values["wait_timeout"]
        while wanted and not self._stop.wait(0.02):
            counts = {camera: publisher.get_subscription_count() for camera, publisher in self._images.items()}
            if min(counts.values()) >= wanted:
                break
            if time.monotonic() > deadline:
                self.get_logger().warning(f"beginning with {counts} subscribers; {wanted} each were asked for")
                break
        self._stop.wait(_SETTLE_S if wanted else 0.0)

    def _send_all(self) -> None:
        half_period_s = 0.5 / self._schedule.rate_hz
        feed = iter(self._feed)
        item = next(feed, None)  # the first image may take long; the clock starts when it is there
        begin = time.monotonic() + self._schedule.lead_ns / _SECOND
        clock_ns = self._stamp_origin()
        progress = begin + _PROGRESS_S
        while item is not None and not self._stop.is_set():
            slot, image = item
            due = begin + slot.send_ns / _SECOND
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            now = time.monotonic()
            self._late += now - due > half_period_s
            self._publish(slot, image, clock_ns + slot.stamp_ns)
            if now > progress:
                progress = now + _PROGRESS_S
                self.get_logger().info(self._summary())
            item = next(feed, None)

    def _stamp_origin(self) -> int:
        if isinstance(self._source, RecordedCameras) and self.values["stamps"] == "recorded":
            first = min(min(self._source.camera_stamps(camera)) for camera in CAMERAS)
            return first + round(self.values["start"] * _SECOND)
        return int(self.get_clock().now().nanoseconds) + self._schedule.lead_ns

    def _prepare(self, camera: Camera, image: Any) -> EncodedImage:
        if camera == "thermal":
            values = self.values
            image = to_encoding(image, values["thermal.encoding"], values["thermal.low"], values["thermal.high"])
        return encode(image)

    def _publish(self, slot: Slot, image: EncodedImage, stamp_ns: int) -> None:
        message = Image(
            height=image.height,
            width=image.width,
            encoding=image.encoding,
            is_bigendian=image.is_bigendian,
            step=image.step,
            data=image.data,
        )
        message.header.stamp = Time(sec=stamp_ns // _SECOND, nanosec=stamp_ns % _SECOND)
        message.header.frame_id = self.values[f"{slot.camera}.frame_id"]
        info = self._info(slot.camera, image.width, image.height)
        info.header = message.header
        self._infos[slot.camera].publish(info)
        self._images[slot.camera].publish(message)
        self._sent[slot.camera] += 1
        self._write({"camera": slot.camera, "index": slot.index, "stamp_ns": stamp_ns})

    def _info(self, camera: Camera, width: int, height: int) -> CameraInfo:
        info = CameraInfo(width=width, height=height)
        matrix = self._source.intrinsics(camera)
        if matrix is not None:  # otherwise K stays zero: uncalibrated, by the message's own convention
            k = [float(number) for number in matrix]
            info.distortion_model, info.d, info.k = "plumb_bob", [0.0] * 5, k
            info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
            info.p = [k[0], k[1], k[2], 0.0, k[3], k[4], k[5], 0.0, k[6], k[7], k[8], 0.0]
        return info

    def _report(self) -> None:
        if self._stop.is_set():
            return
        skipped = [*self._source.skipped, *self._feed.skipped]
        for name, reason in self._feed.skipped[:10]:
            self.get_logger().warning(f"skipped {name}: {reason}")
        if len(self._feed.skipped) > 10:
            self.get_logger().warning(f"skipped {len(self._feed.skipped) - 10} more")
        self._write({"event": "finished", "pairs": min(self._sent.values()), "skipped": skipped})
        self.get_logger().info(f"finished: {self._summary()}")
        if not any(self._sent.values()):
            raise SageFusionError(f"nothing of '{self._source.name}' could be read: {self._feed.skipped[0][1]}")
        if self.values["qos.reliability"] == "reliable":  # what is still being repaired ends with this process
            for publisher in (*self._images.values(), *self._infos.values()):
                publisher.wait_for_all_acked(Duration(seconds=_ACKED_S))
        time.sleep(_SETTLE_S)

    def _summary(self) -> str:
        total = "" if self._schedule.pairs is None else f" of {self._schedule.pairs}"
        return (
            f"sent {min(self._sent.values())}{total} pairs ({self._sent['rgb']} rgb, {self._sent['thermal']} thermal), "
            f"skipped {len(self._feed.skipped)}, late by more than half a period: {self._late}"
        )

    def _write(self, event: dict[str, Any]) -> None:
        if self._log is None:
            return
        try:
            self._log.write(json.dumps(event) + "\n")
            self._log.flush()
        except OSError as error:  # a full disk
            raise ParameterError(f"log_path {self._log.name} can't be written any more: {error.strerror}") from error

    def _refuse_change(self, parameters: list[Any]) -> SetParametersResult:
        names = [parameter.name for parameter in parameters if parameter.name != "use_sim_time"]
        reason = f"{', '.join(names)}: the parameters of replay_node are read at its start" if names else ""
        return SetParametersResult(successful=not names, reason=reason)


def _open_log(path: str) -> TextIO | None:
    if not path:
        return None
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"parameter log_path is '{path}', which can't be written: {error.strerror}") from error


def main(args: list[str] | None = None) -> int:
    """Plays the source; 0 at its end or on a signal, 2 when it or the parameters can't be used."""
    return run_node("replay_node", ReplayNode, SingleThreadedExecutor, args, ReplayNode.is_over)


if __name__ == "__main__":
    sys.exit(main())
