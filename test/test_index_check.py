"""The check by source index: it must find every pair that is lost or mixed, and must not be fooled."""

import pytest

from sage_fusion_ros.evaluation.index_check import StampIndex, check_indexes, recorded_partners
from sage_fusion_ros.evaluation.recording import Fused, PairStamps, Recording, ReplayLog, Sent

PERIOD_NS = 33_333_333
START_NS = 1_700_000_000_000_000_000


def stamp(index: int) -> int:
    return START_NS + index * PERIOD_NS


def sent_log(count: int, offset_ns: int = 0, loops: int = 1) -> ReplayLog:
    log = ReplayLog()
    for position in range(count * loops):
        log.sent.append(Sent("rgb", position % count, stamp(position)))
        log.sent.append(Sent("thermal", position % count, stamp(position) + offset_ns))
    return log


def sent(count: int, offset_ns: int = 0, loops: int = 1) -> StampIndex:
    return StampIndex(sent_log(count, offset_ns, loops))


def came_back(pairs: list[tuple[int, int]], offset_ns: int = 0) -> Recording:
    """A run that paired these positions of RGB and thermal, all fused."""
    run = Recording()
    for rgb, thermal in pairs:
        run.pairs.append(PairStamps(stamp(rgb), stamp(thermal) + offset_ns))
        run.fused.append(Fused(stamp(rgb), stamp(rgb) + 20_000_000))
    return run


def test_every_pair_back():
    check = check_indexes(sent(100), came_back([(i, i) for i in range(100)]))
    assert (check.counted, check.matched, check.share, check.mixed) == (100, 100, 1.0, 0)
    assert check.failures(min_share=1.0) == []


@pytest.mark.parametrize(("lost", "passes"), [(1, True), (2, False)])
def test_the_share_decides_at_its_limit(lost, passes):
    run = came_back([(i, i) for i in range(100) if not 50 <= i < 50 + lost])
    check = check_indexes(sent(100), run)
    assert check.share == pytest.approx(1 - lost / 100)
    assert (check.failures(min_share=0.99) == []) is passes


def test_an_uncompensated_offset_of_one_period_mixes_every_pair():
    # The stamps of the pairs are equal to the nanosecond; only the indexes tell.
    log = sent(100, offset_ns=PERIOD_NS)
    run = came_back([(i + 1, i) for i in range(99)], offset_ns=PERIOD_NS)
    check = check_indexes(log, run)
    assert (check.matched, check.mixed) == (0, 99)
    assert "RGB 1 with thermal 0" in check.examples
    assert any("99 mixed" in reason for reason in check.failures(min_share=0.0))


def test_pairs_across_loops_are_mixed_though_their_index_is_equal():
    log = sent(10, loops=2)
    assert check_indexes(log, came_back([(i, i) for i in range(20)])).mixed == 0
    assert check_indexes(log, came_back([(13, 3)])).mixed == 1


def test_a_stamp_nobody_sent_is_mixed():
    run = came_back([(i, i) for i in range(10)])
    run.pairs.append(PairStamps(stamp(3) + 1, stamp(3)))
    check = check_indexes(sent(10), run)
    assert check.mixed == 1
    assert "a stamp nobody sent" in check.examples[0]


def test_a_fused_image_without_pair_stamps_does_not_count_as_matched():
    run = came_back([(i, i) for i in range(10)])
    del run.pairs[4]
    check = check_indexes(sent(10), run)
    assert (check.matched, check.unexplained) == (9, 1)


def test_a_pair_without_its_fused_image_does_not_count_as_matched():
    run = came_back([(i, i) for i in range(10)])
    del run.fused[4]
    assert check_indexes(sent(10), run).matched == 9


def test_a_stamp_that_goes_out_twice_fails():
    run = came_back([(i, i) for i in range(10)])
    run.fused.append(run.fused[0])
    check = check_indexes(sent(10), run)
    assert check.repeated == 1
    assert check.failures(min_share=0.5) != []


def test_discovery_leaves_out_the_first_pairs_but_no_more_than_its_limit():
    late = came_back([(i, i) for i in range(5, 100)])
    check = check_indexes(sent(100), late)
    assert (check.before_discovery, check.share) == (5, 1.0)
    # A node that wakes up after half the run has lost that half, less the second that discovery may take.
    later = came_back([(i, i) for i in range(50, 100)])
    check = check_indexes(sent(100), later)
    assert check.before_discovery == 31
    assert check.share == pytest.approx(50 / 69)


def test_a_node_that_does_nothing_fails():
    check = check_indexes(sent(100), Recording())
    assert check.matched == 0
    assert check.failures(min_share=0.99) != []


def test_a_source_that_sends_nothing_fails():
    assert check_indexes(StampIndex(ReplayLog()), Recording()).failures(min_share=0.0) != []


def test_half_a_pair_is_no_pair():
    log = sent_log(10)
    del log.sent[7]  # the thermal image of index 3
    check = check_indexes(StampIndex(log), came_back([(i, i) for i in range(10) if i != 3]))
    assert (check.sent, check.matched, check.share) == (9, 9, 1.0)


def test_a_thermal_driven_run_is_looked_up_by_thermal_stamps():
    offset = 5_000_000
    run = came_back([(i, i) for i in range(10)], offset_ns=offset)
    run.fused = [Fused(fused.stamp_ns + offset, fused.arrival_ns) for fused in run.fused]
    check = check_indexes(sent(10, offset_ns=offset), run, drive="thermal")
    assert (check.matched, check.unexplained) == (10, 0)


class Bag:
    """RGB at 30 Hz, thermal at 9 Hz that begins a little earlier."""

    stamps = {  # noqa: RUF012
        "rgb": [round(i * 1e9 / 30) for i in range(90)],
        "thermal": [round((i / 9 - 0.005) * 1e9) for i in range(27)],
    }

    def camera_stamps(self, camera: str) -> list[int]:
        return self.stamps[camera]


def test_cameras_that_count_for_themselves_are_held_against_the_nearest_recorded_image():
    partners = recorded_partners(Bag())
    assert len(partners) == 27
    assert (partners[0], partners[9], partners[1]) == (0, 30, 3)
    log = ReplayLog()
    for camera in ("rgb", "thermal"):
        log.sent += [Sent(camera, i, START_NS + t) for i, t in enumerate(Bag.stamps[camera])]
    stamps = StampIndex(log, partners)
    assert len(stamps.pairs) == 27
    right, wrong = Recording(), Recording()
    for thermal, rgb in partners.items():
        for run, other in ((right, rgb), (wrong, rgb + 1)):
            rgb_ns = START_NS + Bag.stamps["rgb"][other]
            run.pairs.append(PairStamps(rgb_ns, START_NS + Bag.stamps["thermal"][thermal]))
            run.fused.append(Fused(rgb_ns, rgb_ns + 1))
    assert (check_indexes(stamps, right).share, check_indexes(stamps, right).mixed) == (1.0, 0)
    assert (check_indexes(stamps, wrong).matched, check_indexes(stamps, wrong).mixed) == (0, 27)


def test_bag_images_far_from_any_other_have_no_partner():
    class Early(Bag):
        stamps = {"rgb": [1000, 2000], "thermal": [0, 10, 1001]}  # noqa: RUF012

    assert recorded_partners(Early()) == {2: 0}
