"""The cameras' subscriptions: store each message with its stamp, and know how the camera is doing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.nodes.connection import image_topic, publisher_profiles, why_nothing_comes
from sage_fusion_ros.nodes.qos import describe, overridden, profile, subscribe, unfit
from sage_fusion_ros.nodes.side_node import SideNode
from sage_fusion_ros.pipeline.camera_info import camera_info_problem
from sage_fusion_ros.pipeline.compressed_codec import check
from sage_fusion_ros.pipeline.image_codec import check_name, shown
from sage_fusion_ros.pipeline.pairing import CAMERAS
from sage_fusion_ros.pipeline.stats import RateMeter

FUTURE_NS = 1_000_000_000  # stamps further ahead of the node's clock than this are a clock problem worth telling
_STAMP_END = 12  # of a message in CDR that begins with a header: four bytes name the encoding, eight are the stamp


def stamp_to_ns(stamp: Any) -> int:
    """builtin_interfaces/Time to nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


@dataclass
class CameraHealth:
    """What an input has seen, for diagnostics."""

    rate: RateMeter
    encoding: str = ""
    size: tuple[int, int] = (0, 0)  # width, height
    qos_mismatch: str = ""
    lost: int = 0
    ahead_ms: float = 0.0
    clock_ns: int = 0  # the node's clock when the newest image came
    zero_stamps: int = 0
    error: str = ""
    refused: Counter[str] = field(default_factory=Counter)  # images, by the part of them that was wrong
    error_ns: int = 0  # monotonic
    info_error: str = ""  # of the newest CameraInfo


class CameraInput:
    """Subscribes to ~/input/<camera>, or to /compressed behind it, and to ~/input/<camera>_camera_info.

    Args:
        node: The node whose inputs these are: its topic names, overrides, clock and log.
        reader: The node that subscribes for it.
        camera: "rgb" or "thermal".
        transport: "raw" or "compressed".
        qos: Profile of the image subscription, without overrides.
        offer: Called with camera, stamp in nanoseconds and message for each image that passed the first check; must
            return at once.
        root: Where the topics lie: "~", or "~/front" for a pair with a name.

    Raises:
        ParameterError: An override is no QoS.
    """

    def __init__(
        self,
        node: Node,
        reader: Node,
        camera: str,
        transport: str,
        qos: QoSProfile,
        offer: Callable[..., None],
        root: str = "~",
    ) -> None:
        self.camera = camera
        self.topic = node.resolve_topic_name(image_topic(node.resolve_topic_name(f"{root}/input/{camera}"), transport))
        self.qos = overridden(node, self.topic, "subscription", qos)
        self._transport = transport
        self.info_topic = node.resolve_topic_name(f"{root}/input/{camera}_camera_info")
        self.health = CameraHealth(RateMeter())
        self.camera_info: CameraInfo | None = None
        self._node = node
        self._offer = offer
        self._warned: set[str] = set()
        self._said = b""
        subscribe(
            reader,
            Image if transport == "raw" else CompressedImage,
            self.topic,
            self._on_image,
            self.qos,
            on_mismatch=self._on_mismatch,
            on_lost=self._on_lost,
        )
        reader.create_subscription(
            CameraInfo,
            self.info_topic,
            self._on_camera_info,
            profile("best_effort", 1),
            raw=True,
        )

    def note_error(self, error: Exception) -> None:
        """Takes note of an image that could not be used: logged once a reason, then counted."""
        reason = error.reason if isinstance(error, ImageFormatError) else type(error).__name__
        self.health.error = str(error)
        self.health.refused[reason] += 1
        self.health.error_ns = time.monotonic_ns()
        self._warn_once(
            f"error: {reason}",
            f"{self.camera} image on {self.topic} is dropped: {error} (said once; diagnostics count '{reason}')",
        )

    def calibration(self) -> str:
        """What the camera says of its lens: "none" without CameraInfo, "uncalibrated" where its K is zero."""
        info = self.camera_info
        if info is None:
            return "none"
        return f"{info.width}x{info.height} {info.distortion_model}" if info.k[0] else "uncalibrated"

    def publisher_count(self) -> int:
        """How many publishers the topic has now."""
        return int(self._node.count_publishers(self.topic))

    def publisher_profiles(self) -> str:
        """What the publishers of the topic offer in QoS; empty without any."""
        return publisher_profiles(self._node, self.topic)

    def why_nothing_comes(self) -> str:
        """What keeps images from coming; empty where the graph shows no cause."""
        return why_nothing_comes(self._node, self.camera, self.topic, self._transport, self.qos)

    def tell_connection(self, patient: bool) -> None:
        """Logs what keeps images from coming, each cause once.

        Args:
            patient: Whether a publisher may still be about to start.
        """
        if self.health.qos_mismatch and (others := unfit(self._node, self.topic, "publishers", self.qos)):
            if not patient or "a node (" not in others:
                self._warn_once(
                    "qos",
                    f"QoS {self.health.qos_mismatch} of {self.topic} does not fit {others}, so none of its images "
                    f"arrive; asked for is {describe(self.qos)}: change either, or set qos.input.reliability to "
                    "best_effort, which fits all publishers",
                )
        elif not patient and not self.health.rate.total and (text := self.why_nothing_comes()):
            self._warn_once(f"silent: {text.split(' ')[0]}", text)

    def age_ms(self) -> float | None:
        """Milliseconds since the last image, None before the first; simulated ones where time is simulated.

        So a recording that is paused with its clock is not taken for two cameras that have fallen silent.
        """
        clock = self._node.get_clock()
        if clock.ros_time_is_active and self.health.clock_ns:
            return max(0.0, (clock.now().nanoseconds - self.health.clock_ns) / 1e6)
        return self.health.rate.age_ms(time.monotonic_ns())

    def _on_image(self, message: Image | CompressedImage) -> None:
        """Stores a message that can be an image; what is wrong with its fields is told here, of its pixels later."""
        health = self.health
        try:
            check_name("frame_id", message.header.frame_id)
            encoding, *size = check(message)
        except ImageFormatError as error:
            self.note_error(error)
            return
        health.rate.tick(time.monotonic_ns())
        health.encoding = shown(encoding)
        health.size = (size[0], size[1])
        health.clock_ns = now_ns = self._node.get_clock().now().nanoseconds
        stamp_ns = stamp_to_ns(message.header.stamp)
        if stamp_ns == 0:
            health.zero_stamps += 1
            self._warn_once(
                "zero", f"{self.topic} sends stamps of zero: its images are paired by their arrival instead"
            )
            stamp_ns = now_ns
        health.ahead_ms = (stamp_ns - now_ns) / 1e6
        if stamp_ns - now_ns > FUTURE_NS:
            self._warn_once(
                "future",
                f"{self.topic} sends stamps {health.ahead_ms / 1e3:.1f} s ahead of this node's clock: synchronise the "
                "clocks (chrony, PTP), or set use_sim_time when a bag plays",
            )
        self._offer(self.camera, stamp_ns, message)

    def _on_camera_info(self, serialized: bytes) -> None:
        """Takes a CameraInfo, unless it can't be true: then the last good one goes on serving.

        One comes with every image and says the same but for its stamp, so it is read only where it says something new:
        rclpy takes longer to make this message than to make an image's.
        """
        said = serialized[_STAMP_END:]
        if said == self._said:
            return
        self._said = said
        message = deserialize_message(serialized, CameraInfo)
        problem = camera_info_problem(message)
        self.health.info_error = problem
        if problem:
            self._warn_once(f"info {problem}", f"CameraInfo on {self.info_topic} is not used: {problem}")
        else:
            self.camera_info = message

    def _on_mismatch(self, policy: str) -> None:
        """Takes note; who it is becomes known a little later (tell_connection)."""
        self.health.qos_mismatch = policy

    def _on_lost(self, total: int) -> None:
        self.health.lost = total
        self._warn_once(
            "lost",
            f"images of {self.topic} are lost in transport: give the camera driver a larger shared-memory segment "
            "(docs/troubleshooting.md)",
        )

    def _warn_once(self, key: str, text: str) -> None:
        """Logs each kind of trouble once while this input lives; diagnostics go on telling it."""
        if key not in self._warned and len(self._warned) < 100:
            self._warned.add(key)
            self._node.get_logger().warning(text)


class CameraInputs:
    """Both cameras, read by a node and a thread of their own.

    Of rclpy's executors only the single-threaded one is cheap: the multi-threaded one takes two to four times its
    processor time for each message (docs/architecture.md). Services need several threads, images need cheap ones, and a
    node can be in one executor only; so the images get a second node, named after the first.
    """

    def __init__(
        self,
        node: Node,
        transports: Mapping[str, str],
        qos: QoSProfile,
        offer: Callable[..., None],
        pair: str = "",
    ) -> None:
        self._side = SideNode(node, f"{pair}_inputs" if pair else "inputs")
        root = f"~/{pair}" if pair else "~"
        self.cameras = {
            camera: CameraInput(node, self._side.node, camera, transports[camera], qos, offer, root)
            for camera in CAMERAS
        }
        self._side.start()

    def close(self) -> None:
        """Ends the subscriptions."""
        self._side.close()
