"""Several pairs of cameras in one node, over DDS: each has its own topics, they share the models."""

import itertools

import numpy as np
import pytest
from mock_models import make_model
from node_rig import MS, NodeRig, stamp_of, to_message
from sensor_msgs.msg import Image

from sage_fusion_ros.pipeline.pixel_maps import HomographyMap
from sage_fusion_ros.sources.calibration_file import Calibration, write_calibration

NAMES = ("front", "rear")


class PairsRig(NodeRig):
    """Cameras and a listener for each pair, beside those of a node without names, which stay unheard."""

    def __enter__(self):
        super().__enter__()
        self.cameras = {
            (name, camera): self.node.create_publisher(Image, f"/fusion_node/{name}/input/{camera}", 10)
            for name in NAMES
            for camera in ("rgb", "thermal")
        }
        self.seen = {name: [] for name in NAMES}
        for name in NAMES:
            self.node.create_subscription(Image, f"/fusion_node/{name}/output/fused", self.seen[name].append, 10)
        self.wait(
            lambda: (
                all(publisher.get_subscription_count() for publisher in self.cameras.values())
                and all(self.node.count_publishers(f"/fusion_node/{name}/output/fused") for name in NAMES)
            ),
            "the node reads every pair",
        )
        return self

    def pair(self, name, level, stamp_ns):
        rgb, thermal = np.full((48, 64, 3), level, np.uint8), np.full((48, 64), level // 2, np.uint8)
        for camera, image in (("rgb", rgb), ("thermal", thermal)):
            self.cameras[name, camera].publish(to_message(image, stamp_ns, f"{name}_{camera}"))

    def fuse(self, name, level, stamp_ns):
        """Sends a pair until it has been fused; the fused image."""

        def found():
            return [message for message in self.seen[name] if stamp_of(message) == stamp_ns]

        def came():
            if found():
                return True
            self.pair(name, level, stamp_ns)
            return bool(found())

        self.wait(came, f"the fused image of {name}")
        return found()[0]


@pytest.fixture
def models(tmp_path):
    make_model(tmp_path / "sage_fast", "Max")
    make_model(tmp_path / "darker", "Min")
    return tmp_path


@pytest.fixture
def rig(models):
    with PairsRig(models, pairs="[front, rear]") as rig:
        yield rig


def test_each_pair_has_its_own_topics_stamps_and_frames(rig):
    for name, level, stamp in (("front", 40, 1000 * MS), ("rear", 200, 1000 * MS), ("front", 90, 2000 * MS)):
        message = rig.fuse(name, level, stamp)
        assert message.header.frame_id == f"{name}_rgb"
        assert np.frombuffer(message.data, np.uint8).max() == pytest.approx(level, abs=2)
    assert {message.header.frame_id for message in rig.seen["rear"]} == {"rear_rgb"}


def test_diagnostics_name_the_pair_and_count_for_each(rig):
    rig.fuse("front", 40, 1000 * MS)
    rig.wait(lambda: int(rig.value("front: pairing", "fused") or 0) >= 1, "front is counted")
    assert rig.value("rear: pairing", "fused") == "0"
    assert rig.value("front: input rgb", "topic") == "/fusion_node/front/input/rgb"
    rig.wait(lambda: "silent" in rig.message("rear: input rgb") or "no image" in rig.message("rear: input rgb"), "rear")


def test_a_silent_pair_does_not_hold_up_the_other(rig):
    for index in range(5):
        rig.fuse("rear", 100, (1000 + 100 * index) * MS)
    assert not rig.seen["front"]


def test_a_parameter_that_changes_reaches_every_pair(rig):
    for name in NAMES:
        rig.fuse(name, 60, 1000 * MS)
    assert rig.set("rate.max_hz", 0.001)[0]
    stamps = itertools.count(3000 * MS, 33 * MS)

    def limited(name):
        rig.pair(name, 60, next(stamps))
        return rig.value(f"{name}: pairing", "dropped: pair: rate limit")

    for name in NAMES:
        rig.wait(lambda name=name: limited(name), f"a pair of {name} that the limit drops")


def test_models_change_under_all_pairs(rig):
    rig.fuse("front", 60, 1000 * MS)
    assert rig.set("fusion.model", "darker")[0]
    for name in NAMES:
        message = rig.fuse(name, 60, 5000 * MS)
        assert np.frombuffer(message.data, np.uint8).max() < 60


def test_cleaned_up_and_configured_again_all_pairs_serve(rig):
    rig.fuse("rear", 60, 1000 * MS)
    for transition in ("deactivate", "cleanup", "configure", "activate"):
        assert rig.change_state(transition), transition
    for name in NAMES:
        rig.fuse(name, 80, 9000 * MS)


def test_each_pair_has_a_calibration_of_its_own(models, tmp_path):
    """An error names the file of the pair that it is of."""
    same = HomographyMap((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), (64, 48), (64, 48))
    write_calibration(tmp_path / "front.yaml", Calibration(homography=same))
    (tmp_path / "rear.yaml").write_text("method: none of them")
    registration = {"registration.method": "homography", "registration.file": f"{tmp_path}/{{pair}}.yaml"}
    with NodeRig(models, pairs="[front, rear]", **registration) as rig:
        rig.wait(lambda: "configure failed" in rig.log, "the refusal")
        assert str(tmp_path / "rear.yaml") in rig.log.partition("configure failed")[2]


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ("[front, front]", "pairs has the name 'front' twice"),
        ("[input]", "pairs has the name 'input'"),
        ("['a/b']", "pairs has the name 'a/b'"),
    ],
)
def test_names_that_make_no_topics_are_refused(models, pairs, text):
    with NodeRig(models, pairs=pairs) as rig:
        assert rig.process.wait(30) == 2
        rig.process.poll()
        assert text in rig.log
