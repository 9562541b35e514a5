"""What lies between threads, the rate limit and the statistics: nothing is lost, and numbers are of what is newest."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_fusion_ros.pipeline.rate import RateLimiter
from sage_fusion_ros.pipeline.registration import resize_to
from sage_fusion_ros.pipeline.slot import NewestSlot, Order
from sage_fusion_ros.pipeline.stats import RateMeter, Rolling

MS = 1_000_000


def test_slot_gives_back_what_it_drops():
    slot = NewestSlot()
    assert slot.put(1) is None
    assert slot.put(2) == 1
    assert slot.take() == 2
    assert slot.take(0.0) is None
    slot.put(3)
    assert slot.close() == 3
    assert slot.put(4) == 4, "a closed slot takes nothing"
    assert slot.take() is None


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 4))
def test_pieces_come_out_in_the_order_of_their_numbers_one_at_a_time(durations, most):
    """However long each takes; and no more are begun than may be."""
    order, out, inside, begun = Order(most), [], [], []

    def bring_out(number):
        inside.append(number)
        assert begun[-1] - number < most
        out.append(number)
        assert inside == [number]
        inside.remove(number)

    def work(number, milliseconds):
        time.sleep(milliseconds / 1e3)
        order.finish(number, lambda: bring_out(number))

    threads = []
    for duration in durations:
        order.wait()
        begun.append(order.begin())
        threads.append(threading.Thread(target=work, args=(begun[-1], duration)))
        threads[-1].start()
    for thread in threads:
        thread.join(20)
    assert out == begun == list(range(len(durations)))


def test_who_finishes_early_does_not_wait_for_the_one_before():
    order, out = Order(2), []
    first, second = order.begin(), order.begin()
    order.finish(second, lambda: out.append(2))
    assert out == []
    order.finish(first, lambda: out.append(1))
    assert out == [1, 2]


@given(st.floats(1, 120), st.floats(1, 120))
def test_rate_limit_holds_the_mean(limit_hz, input_hz):
    limiter = RateLimiter(limit_hz)
    seconds = 20
    passed = sum(limiter.allows(round(i * 1e9 / input_hz)) for i in range(int(input_hz * seconds)))
    assert passed <= min(limit_hz, input_hz) * seconds + 2
    assert passed >= 0.9 * min(limit_hz, input_hz) * seconds - 2


def test_no_limit_lets_all_through():
    assert all(RateLimiter(0).allows(0) for _ in range(10))


def test_rate_meter_follows_a_camera_and_its_death():
    meter = RateMeter()
    assert meter.rate_hz(0) == 0
    assert meter.age_ms(0) is None
    for i in range(61):
        meter.tick(i * 33_333_333)
    last = 60 * 33_333_333
    assert meter.rate_hz(last) == pytest.approx(30, abs=0.1)
    assert meter.age_ms(last + 5 * MS) == pytest.approx(5)
    assert meter.rate_hz(last + 2000 * MS) < 30
    assert meter.rate_hz(last + 4000 * MS) == 0
    assert meter.age_ms(last + 4000 * MS) == pytest.approx(4000), "how long ago outlives the window"
    assert meter.total == 61


def test_rolling_percentiles_are_of_the_newest_values():
    rolling = Rolling(10)
    assert rolling.percentiles(50) is None
    for value in range(100):
        rolling.add(value)
    assert rolling.percentiles(0, 50, 100) == (90, 94.5, 99)
    rolling.clear()
    assert rolling.percentiles(50) is None


@pytest.mark.parametrize("size", [(12, 16), (6, 8), (24, 32), (480, 640)])
def test_resize_keeps_a_flat_image_flat(size):
    assert (resize_to(np.full(size, 77, np.uint8), 12, 16) == 77).all()
