"""What faults are injected into: a node that streams, with every message counted, and one that waits unconfigured."""

import sys
import time
from pathlib import Path

import numpy as np
from node_rig import MS, NodeRig, stamp_of, to_message
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from sage_fusion_ros.pipeline.compressed_codec import encode_compressed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools" / "soak"))
from judge import unaccounted

SECOND = 1_000_000_000
RGB, THERMAL = "rgb", "thermal"
OTHER = {RGB: THERMAL, THERMAL: RGB}


def picture(camera, number, height=48, width=64):
    """A live image: none is like the one before, and it is neither flat nor saturated."""
    rng = np.random.default_rng(number)
    shape = (height, width, 3) if camera == RGB else (height, width)
    image = rng.integers(40, 180, shape, np.uint8)
    image[: height // 2] //= 2
    return image


def compressed(image, stamp_ns, frame_id, **changes):
    """An array as a lossless sensor_msgs/CompressedImage; changes overwrite fields."""
    packed = encode_compressed(image, lossless=True)
    message = CompressedImage(format=packed.format, data=changes.get("data", packed.data))
    message.header = to_message(image, stamp_ns, frame_id).header
    return message


class FaultRig(NodeRig):
    """Streams pictures to the node over DDS and knows what was sent."""

    def __init__(self, models, **parameters):
        self.told = 0  # messages of diagnostics
        reliable = {"qos.input.reliability": "reliable", "qos.input.depth": 100, "engine.threads": 1}
        judged = {"degraded.frozen_ms": 500.0, "degraded.check_images": "true"}
        super().__init__(models, **{**reliable, **judged, **parameters})
        self.models = models
        if parameters.get("image_transport.rgb") == "compressed":
            topic, qos = "/fusion_node/input/rgb/compressed", self.publishers[RGB].qos_profile
            self.publishers[RGB] = self.node.create_publisher(CompressedImage, topic, qos)
        self._get = self.node.create_client(GetParameters, "/fusion_node/get_parameters")
        self.sent = 0
        self._received = self._refused = self._twice = 0

    def send_one(self, camera, stamp_ns, image=None, **changes):
        """Publishes one image: a picture unless another is given; changes overwrite fields."""
        if not isinstance(image, Image):
            image = picture(camera, self.index) if image is None else image
            pack = compressed if self.publishers[camera].msg_type is CompressedImage else to_message
            image = pack(image, stamp_ns, f"{camera}_optical", **changes)
        self.publishers[camera].publish(image)
        self.sent += 1

    def _on_diagnostics(self, message):
        super()._on_diagnostics(message)
        self.told += 1

    @property
    def proc(self):
        """What the system says of the node's process."""
        return Path(f"/proc/{self.process.pid}")

    def get(self, name):
        """A parameter's value message."""
        return self._call(self._get, GetParameters.Request(names=[name])).values[0]

    def ask(self, name, value):
        """Asks for a parameter to be set, and does not wait for the answer."""
        self._set.call_async(SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()]))

    def next_stamp(self):
        """The stamp of the next pair."""
        self.index += 1
        return self.base_ns + self.index * 33 * MS

    def step(self, rgb=None, thermal=None, *, gap_s=0.005):
        """Sends one pair; returns its stamp.

        Each may be an image, what gives one for the pair's number, fields to overwrite, or False for nothing.
        """
        stamp_ns = self.next_stamp()
        for camera, given in ((RGB, rgb), (THERMAL, thermal)):
            if given is not False:
                given = given(self.index) if callable(given) else given
                changes = given if isinstance(given, dict) else {}
                self.send_one(camera, stamp_ns, None if given is None or changes else given, **changes)
        time.sleep(gap_s)
        return stamp_ns

    def until(self, condition, what, rgb=None, thermal=None, *, gap_s=0.01):
        """Sends such pairs until a condition holds; returns what it gave."""
        found = []

        def look():
            found.append(condition())
            if not found[-1]:
                self.step(rgb, thermal, gap_s=gap_s)
            return found[-1]

        self.wait(look, what)
        return found[-1]

    def stamps(self, since=0):
        """Stamps of the fused images that came, from the index on."""
        return [stamp_of(message) for message in self.fused[since:]]

    def paired(self, since=0):
        """RGB stamps of the pairs that came out, from the index on."""
        return {stamp_of(pair) for pair in self.pairs[since:]}

    def good_pair(self):
        """Sends good pairs until one of them comes out as a pair; returns its stamp."""
        first, since = self.base_ns + (self.index + 1) * 33 * MS, len(self.pairs)
        return self.until(lambda: max((s for s in self.paired(since) if s >= first), default=0), "a good pair")

    def go_ahead(self):
        """Moves the stamps to come beyond the clock and beyond all that came out."""
        now = max([time.time_ns(), *self.stamps()])
        self.base_ns = now + SECOND - self.index * 33 * MS

    def fused_image(self, stamp_ns):
        """The fused message of a stamp, once it is there."""
        found = []
        self.wait(
            lambda: found.extend(m for m in self.fused if stamp_of(m) == stamp_ns) or found, "the image of that stamp"
        )
        return found[0]

    def count(self, key):
        """A counter of the pairing's diagnostics."""
        return int(self.value("pairing", key) or 0)

    def mode(self, name):
        """How many results went out in a mode: pair, rgb_only, thermal_only, hold."""
        return int(self.value("health", f"sent: {name}") or 0)

    def settled(self):
        """Waits until the node has nothing left to do; returns its diagnostics."""
        last = []

        def still():
            now = {part: dict(values) for part, (_, values) in list(self.statuses.items())}
            counts = {k: v for k, v in now.get("pairing", {}).items() if "_ms_" not in k}
            last.append((counts, now))
            return len(last) > 1 and counts and last[-2][0] == counts and unaccounted(now) == 0

        def look():
            told = self.told
            self.wait(lambda: self.told > told, "diagnostics")
            return still()

        self.wait(look, "diagnostics in which every image is accounted for", 10)
        return last[-1][1]

    def check(self, restarted=False):
        """What holds after every fault: it streams again, every image is accounted for, no stamp came twice."""
        self.good_pair()
        inputs = [self.settled()[f"input {camera}"] for camera in (RGB, THERMAL)]
        received = sum(int(values["received"]) for values in inputs)
        refused = sum(int(values["unreadable"]) for values in inputs)
        least, most = received - self._received, received + refused - self._received - self._refused
        sent, self.sent, self._received, self._refused = self.sent, 0, received, refused
        stamps = self.stamps()
        twice, self._twice = len(stamps) - len(set(stamps)) - self._twice, len(stamps) - len(set(stamps))
        assert twice == 0, f"{twice} stamps came more than once"
        if not restarted:
            # One that was killed is listed for a while; and of a new publisher the first image may be lost.
            assert self.node.count_publishers("/fusion_node/output/fused") == 1, "another node in this ROS domain"
            # Some that can't be read are refused at the door, the others when their pixels are looked at.
            assert least <= sent <= most, f"{sent} sent, {least} received, {most - least} refused"
