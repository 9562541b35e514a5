"""A node with a perception model whose answer is known: what is bright is of its first class."""

import time

import numpy as np
from node_rig import NodeRig, stamp_of
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SIDE = 160
"""Longer side of the mock's input; its largest boxes are cells of 32 pixels in it."""
NAME = "/fusion_node/output"


def pair_with_block(height, width, block):
    """A dark pair, RGB and thermal, with one bright block (left, top, right, bottom) in the RGB image."""
    rgb = np.full((height, width, 3), 30, np.uint8)
    left, top, right, bottom = block
    rgb[top:bottom, left:right] = 250
    return rgb, np.full((height, width), 20, np.uint8)


class Heard:
    """Messages of one topic while this is in use; the node sees a subscriber for that long."""

    def __init__(self, rig, message_type, topic, *, latched=False):
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        if latched:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self._rig = rig
        self.messages = []
        self._subscription = rig.node.create_subscription(message_type, f"{NAME}/{topic}", self.messages.append, qos)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._rig.node.destroy_subscription(self._subscription)

    @property
    def by_stamp(self):
        """The messages by the stamp of their header in nanoseconds."""
        return {stamp_of(message): message for message in list(self.messages)}

    def after(self, stamp_ns):
        """The newest message of a pair sent later than this one, or None."""
        late = [message for stamp, message in self.by_stamp.items() if stamp > stamp_ns]
        return late[-1] if late else None


class PerceptionRig(NodeRig):
    """The node with the mock model named "perception" unless another is given."""

    def __init__(self, models, **parameters):
        super().__init__(models, **{"perception.model": "perception", **parameters})

    def until(self, condition, what, pair=(None, None)):
        """Sends pairs until a condition holds; returns what it gave."""
        found = []

        def step():
            found.append(condition())
            if not found[-1]:
                self.send(*pair)
                time.sleep(0.03)
            return found[-1]

        self.wait(step, what)
        return found[-1]

    def new(self, heard, pair=(None, None), accept=lambda message: True):
        """A message of a pair sent from now on that is as wanted."""
        sent = self.base_ns + self.index * 33_000_000

        def look():
            message = heard.after(sent)
            return message if message is not None and accept(message) else None

        return self.until(look, "a message as wanted", pair)

    def stages(self):
        """Names of the stages in the newest timing diagnostics."""
        values = self.statuses["timing"][1] if "timing" in self.statuses else {}
        return {name.removesuffix("_ms_p50") for name in values if name.endswith("_ms_p50")}

    def topics(self):
        """Outputs of the node, without what is before them."""
        prefix = f"{NAME}/"
        names = [name for name, _ in self.node.get_topic_names_and_types() if name.startswith(prefix)]
        return {name.removeprefix(prefix) for name in names if self.node.count_publishers(name)}
