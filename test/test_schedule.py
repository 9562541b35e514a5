import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest

from sage_fusion_ros.errors import ParameterError, SourceError
from sage_fusion_ros.sources.base import SourcePair
from sage_fusion_ros.sources.depth import to_encoding
from sage_fusion_ros.sources.feed import Feed
from sage_fusion_ros.sources.schedule import Schedule, ScheduleSettings

MS = 1_000_000


@dataclass
class Stills:
    """Ten pairs whose pixels are their index; some can't be read."""

    frame_rate: float | None = None
    broken: tuple[int, ...] = ()
    name: str = "stills"
    kind: str = "folder"
    is_sequence: bool = False
    skipped: list = field(default_factory=list)
    reads: list = field(default_factory=list)

    def __len__(self) -> int:
        return 10

    def read(self, index: int) -> SourcePair:
        self.reads.append(index)
        if index in self.broken:
            raise SourceError(f"file {index} is damaged")
        return SourcePair(index, np.full((2, 2, 3), index, np.uint8), np.full((2, 2), index, np.uint8))


@dataclass
class Recorded(Stills):
    """A bag: RGB at 30 Hz, thermal at 10 Hz from 7 ms later."""

    frame_rate: float | None = 30.0

    def camera_stamps(self, camera: str) -> list[int]:
        start = 1_700_000_000_000_000_000
        return (
            [start + i * 33 * MS for i in range(10)]
            if camera == "rgb"
            else [start + 7 * MS, start + 107 * MS, start + 207 * MS]
        )

    def read_camera(self, camera: str, index: int) -> np.ndarray:
        if camera == "thermal" and index in self.broken:
            raise SourceError(f"message {index} is damaged")
        return np.full((2, 2), index, np.uint8)


def slots(source: Stills, camera: str, **settings: object) -> list[tuple[int, float, float]]:
    """(index, sending time in ms, stamp in ms) of one camera."""
    found = [slot for slot in Schedule(source, ScheduleSettings(**settings)) if slot.camera == camera]
    return [(slot.index, slot.send_ns / MS, slot.stamp_ns / MS) for slot in found]


def test_stills_get_made_up_stamps_at_ten_hertz() -> None:
    assert slots(Stills(), "rgb") == [(i, i * 100.0, i * 100.0) for i in range(10)]
    assert slots(Stills(), "thermal") == slots(Stills(), "rgb")


def test_rate_of_the_source_and_rate_that_is_asked_for() -> None:
    assert slots(Stills(frame_rate=50.0), "rgb")[3][1] == 60.0
    assert slots(Stills(frame_rate=50.0), "rgb", rate_hz=20.0)[3][1] == 150.0


def test_start_and_duration_at_rates_without_round_periods() -> None:
    schedule = Schedule(Stills(frame_rate=30.0), ScheduleSettings(start_s=0.1, duration_s=0.2))
    assert [slot.index for slot in schedule if slot.camera == "rgb"] == [3, 4, 5, 6, 7, 8]
    assert schedule.pairs == 6
    assert next(iter(schedule)).send_ns == pytest.approx(0, abs=2)
    with pytest.raises(SourceError, match=r"start is 5 s, but 'stills' is over after 1\.00 s"):
        Schedule(Stills(), ScheduleSettings(start_s=5.0))


def test_an_offset_moves_stamp_and_sending_of_thermal_only() -> None:
    assert slots(Stills(), "thermal", thermal_offset_ms=40.0)[2] == (2, 240.0, 240.0)
    assert slots(Stills(), "rgb", thermal_offset_ms=40.0)[2] == (2, 200.0, 200.0)
    schedule = Schedule(Stills(), ScheduleSettings(thermal_offset_ms=-40.0))
    assert next(iter(schedule)).send_ns == -40 * MS
    assert schedule.lead_ns == 40 * MS


def test_all_cameras_together_go_out_in_order_of_time() -> None:
    settings = ScheduleSettings(loop=True, duration_s=3.0, thermal_offset_ms=250.0, rgb_jitter_ms=30.0, seed=3)
    times = [slot.send_ns for slot in Schedule(Stills(), settings)]
    assert times == sorted(times)
    assert len(times) == 60


def test_jitter_is_bounded_repeats_by_seed_and_never_turns_stamps_back() -> None:
    first = slots(Stills(), "thermal", thermal_jitter_ms=20.0, seed=5)
    assert first == slots(Stills(), "thermal", thermal_jitter_ms=20.0, seed=5)
    assert first != slots(Stills(), "thermal", thermal_jitter_ms=20.0, seed=6)
    moved = [send - index * 100 for index, send, _ in first]
    assert max(map(abs, moved)) <= 20
    assert max(map(abs, moved)) > 5
    assert slots(Stills(), "rgb", thermal_jitter_ms=20.0, seed=5) == slots(Stills(), "rgb")
    wild = [send for _, send, _ in slots(Stills(), "thermal", rate_hz=100.0, thermal_jitter_ms=500.0)]
    assert all(later > earlier for earlier, later in itertools.pairwise(wild))


@pytest.mark.parametrize("source", [Stills(), Recorded()])
def test_looping_goes_on_with_rising_or_repeated_stamps(source: Stills) -> None:
    endless = Schedule(source, ScheduleSettings(loop=True, rate_hz=30.0))
    assert endless.pairs is None
    rgb = [slot for slot in itertools.islice(endless, 100) if slot.camera == "rgb"][:25]
    assert [slot.index for slot in rgb] == [i % 10 for i in range(25)]
    assert all(later.stamp_ns > earlier.stamp_ns for earlier, later in itertools.pairwise(rgb))
    again = Schedule(source, ScheduleSettings(loop=True, rate_hz=30.0, loop_stamps="restart"))
    rgb = [slot for slot in itertools.islice(again, 100) if slot.camera == "rgb"][:25]
    assert [slot.stamp_ns for slot in rgb[10:20]] == [slot.stamp_ns for slot in rgb[:10]]
    assert all(later.send_ns > earlier.send_ns for earlier, later in itertools.pairwise(rgb))
    with pytest.raises(ParameterError, match="'backwards'; expected continue or restart"):
        Schedule(source, ScheduleSettings(loop_stamps="backwards"))


def test_loop_with_a_duration_ends() -> None:
    schedule = Schedule(Stills(), ScheduleSettings(loop=True, duration_s=2.5))
    assert schedule.pairs == 25
    assert [slot.index for slot in schedule if slot.camera == "thermal"][-1] == 4


def test_a_bag_keeps_its_own_intervals_and_counts() -> None:
    assert [send for _, send, _ in slots(Recorded(), "thermal")] == [7.0, 107.0, 207.0]
    assert [send for _, send, _ in slots(Recorded(), "rgb")] == [i * 33.0 for i in range(10)]
    assert Schedule(Recorded(), ScheduleSettings()).pairs == 3
    assert [send for _, send, _ in slots(Recorded(), "thermal", rate_hz=60.0)] == [3.5, 53.5, 103.5]


def fed(source: Stills, **settings: object) -> tuple[list[tuple[str, int, int]], Feed]:
    feed = Feed(source, Schedule(source, ScheduleSettings(**settings)), lambda camera, image: int(image.ravel()[0]))
    found = [(slot.camera, slot.index, value) for slot, value in feed]
    feed.close()
    return found, feed


def test_the_feed_gives_each_slot_its_own_image() -> None:
    source = Stills()
    found, feed = fed(source, thermal_offset_ms=250.0, thermal_jitter_ms=40.0)
    assert len(found) == 20
    assert all(index == value for _, index, value in found)
    assert sorted(source.reads) == list(range(10))  # each pair is read once
    assert feed.skipped == []


def test_a_broken_pair_is_left_out_whole_and_noted_once() -> None:
    found, feed = fed(Stills(broken=(0, 4)), loop=True, duration_s=2.0)
    assert {index for _, index, _ in found} == set(range(10)) - {0, 4}
    assert len(found) == 32
    assert feed.skipped == [("pair 0", "file 0 is damaged"), ("pair 4", "file 4 is damaged")]


def test_a_broken_message_of_a_bag_leaves_the_other_camera_alone() -> None:
    found, feed = fed(Recorded(broken=(1,)))
    assert [index for camera, index, _ in found if camera == "thermal"] == [0, 2]
    assert [index for camera, index, _ in found if camera == "rgb"] == list(range(10))
    assert feed.skipped == [("thermal image 1", "message 1 is damaged")]


def test_the_feed_stops_when_closed_and_hands_on_faults() -> None:
    source = Stills()
    feed = Feed(source, Schedule(source, ScheduleSettings(loop=True)), lambda camera, image: image)
    next(iter(feed))
    feed.close()
    assert list(feed) == []

    def fault(camera: str, image: np.ndarray) -> None:
        raise ZeroDivisionError("ours")

    feed = Feed(source, Schedule(source, ScheduleSettings()), fault)
    with pytest.raises(ZeroDivisionError, match="ours"):
        list(feed)
    feed.close()


def test_thermal_depths() -> None:
    eight = np.array([[0, 1, 255]], np.uint8)
    np.testing.assert_array_equal(to_encoding(eight, "mono16", 0, 1), [[0, 257, 65535]])
    assert to_encoding(eight, "source", 0, 1) is eight
    sixteen = np.array([[0, 26315, 29315, 32315, 65535]], np.uint16)
    result = to_encoding(sixteen, "mono8", 26315, 32315)
    assert result.dtype == np.uint8
    assert result.tolist() == [[0, 0, 128, 255, 255]]
    kelvin = np.array([[293.15, np.nan, -5.0]], np.float32)
    assert to_encoding(kelvin, "mono16", 0, 1).tolist() == [[29315, 0, 0]]
    assert to_encoding(kelvin[:, :1], "mono8", 26315, 32315).tolist() == [[128]]
    with pytest.raises(ParameterError, match="'mono12'; expected one of source, mono8, mono16"):
        to_encoding(eight, "mono12", 0, 1)
