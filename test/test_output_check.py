"""The check that every fused image has its mask and its detections under the very same header."""

import numpy as np
import pytest

from sage_fusion_ros.evaluation.output_check import check_outputs, output_failures
from sage_fusion_ros.evaluation.recording import OUTPUTS, Found, Fused, Mask, Recording

PERIOD_NS = 100_000_000
SIZE = (640, 480)
COUNT = 20


def found(index: int, frame: str = "rgb") -> Found:
    return Found(index * PERIOD_NS, frame, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), [])


@pytest.fixture
def run() -> Recording:
    """A run in which everything came."""
    return Recording(
        fused=[Fused(i * PERIOD_NS, i * PERIOD_NS + 5, "rgb", SIZE) for i in range(COUNT)],
        masks=[Mask(i * PERIOD_NS, "rgb", SIZE) for i in range(COUNT)],
        detections=[found(i) for i in range(COUNT)],
        classes={"mask": {0: "road"}, "detections": {0: "person"}},
    )


def failures(run: Recording) -> list[str]:
    return output_failures(run, check_outputs(run, OUTPUTS))


def test_everything_there_passes(run):
    assert failures(run) == []
    check = check_outputs(run, OUTPUTS)["mask"]
    assert (check.counted, check.missing, check.other_header, check.before_discovery) == (COUNT, 0, 0, 0)


def test_only_what_is_wanted_is_checked(run):
    run.masks, run.classes = [], {"detections": {0: "person"}}
    assert output_failures(run, check_outputs(run, ["detections"])) == []


@pytest.mark.parametrize("output", OUTPUTS)
def test_one_missing_at_the_end_or_in_the_middle_fails(run, output):
    messages = run.masks if output == "mask" else run.detections
    for position in (7, -1):
        lost = messages.pop(position)
        (reason,) = failures(run)
        assert f"1 of {COUNT} fused images have no {output}" in reason
        assert f"stamp {lost.stamp_ns}" in reason
        messages.append(lost)


def test_pairs_are_called_what_the_caller_calls_them(run):
    del run.masks[7]
    check = check_outputs(run, ["mask"], lambda stamp_ns: f"source index {stamp_ns // PERIOD_NS}")["mask"]
    assert check.examples == ["source index 7"]


def test_an_output_that_never_comes_fails_for_every_pair(run):
    run.masks = []
    assert f"{COUNT} of {COUNT} fused images have no mask" in failures(run)[0]


def test_a_nanosecond_is_another_header(run):
    run.masks[3] = Mask(run.masks[3].stamp_ns + 1, "rgb", SIZE)
    missing, other = failures(run)
    assert "1 of 20 fused images have no mask" in missing
    assert "1 messages of mask have a header that no fused image had" in other


@pytest.mark.parametrize("output", OUTPUTS)
def test_another_frame_is_another_header(run, output):
    if output == "mask":
        run.masks[3] = Mask(run.masks[3].stamp_ns, "thermal", SIZE)
    else:
        run.detections[3] = found(3, "thermal")
    (reason,) = failures(run)
    assert f"1 messages of {output} have a header that no fused image had" in reason
    assert "frame_id 'thermal' beside 'rgb'" in reason


def test_a_mask_of_another_size_fails(run):
    run.masks[3] = Mask(run.masks[3].stamp_ns, "rgb", (480, 640))
    (reason,) = failures(run)
    assert "1 messages of mask have another size" in reason
    assert "480x640 beside 640x480" in reason


def test_the_same_stamp_twice_fails(run):
    run.detections.append(run.detections[5])
    (reason,) = failures(run)
    assert "1 messages of detections came under a stamp used before" in reason


def test_discovery_leaves_out_the_first_second_at_most(run):
    del run.masks[:6]
    assert failures(run) == []
    assert check_outputs(run, OUTPUTS)["mask"].before_discovery == 6
    del run.masks[:6]  # the first mask at 1.2 s
    assert check_outputs(run, OUTPUTS)["mask"].before_discovery == 10
    assert "2 of 10 fused images have no mask" in failures(run)[0]


def test_one_before_the_first_fused_image_was_discovered_earlier_and_no_fault(run):
    del run.fused[:3]
    assert failures(run) == []


def test_class_names_that_never_came_fail(run):
    del run.classes["detections"]
    assert failures(run) == ["no class names came on ~/output/detections/label_info"]


def test_what_could_not_be_recorded_is_said_with_its_reason(run):
    run.detections, run.unavailable = [], {"detections": "the recorder has no vision_msgs"}
    assert failures(run) == ["the detections could not be recorded: the recorder has no vision_msgs"]


def test_nothing_fused_says_nothing_of_the_outputs():
    empty = Recording()
    checks = check_outputs(empty, OUTPUTS)
    assert all(check.counted == check.missing == 0 for check in checks.values())
