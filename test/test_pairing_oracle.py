"""The pairing against an observer who knows all stamps and always waits for as long as is allowed."""

import importlib.util
import sys

import pytest

from sage_fusion_ros.pipeline.pairing import Pairing, PairingSettings


@pytest.fixture(scope="module")
def tool(project):
    spec = importlib.util.spec_from_file_location("pairing_oracle", project / "tools" / "pairing_oracle.py")
    module = sys.modules["pairing_oracle"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pairing_oracle"]


@pytest.mark.parametrize("rates", [(30.0, 30.0), (30.0, 9.0), (20.0, 25.0)])
@pytest.mark.parametrize("kind", ["jitter", "jitter, 10 % lost", "jitter, out of order"])
def test_no_pair_differs(tool, rates, kind):
    result = tool.compare(tool.Cameras(rates, **tool.KINDS[kind]), 60, 1)
    assert result.equal, (result.missed, result.added)
    assert result.pairs > 60 * min(rates) * 0.6
    assert (result.out_of_order > 0) == (kind == "jitter, out of order")
    assert result.cut <= result.pairs * 1e-3


@pytest.mark.parametrize("hold_ms", [5, 30, 60])
def test_no_pair_differs_when_the_wait_is_too_short_for_certainty(tool, hold_ms):
    """Latencies of 2 to 40 ms: many a frame has to be settled by what has arrived."""
    settings = PairingSettings(hold_ns=hold_ms * tool.MS)
    result = tool.compare(tool.Cameras((30.0, 30.0)), 60, 2, settings)
    assert result.equal, (result.missed[:3], result.added[:3])
    assert result.cut > 0


@pytest.mark.parametrize(
    ("later", "expected"),
    [([], [(25, 15)]), ([("thermal", 30, 99)], [(0, 15), (25, 30)]), ([("thermal", 30, 101)], [(25, 30)])],
)
def test_the_oracle_by_hand(tool, later, expected):
    """15 is nearer to 25 than to 0; when 25 finds 30 while 0 still waits, 0 gets 15 after all."""
    frames = [("rgb", 0, 0), ("thermal", 15, 15), ("rgb", 25, 25), *later]
    frames = [tool.Frame(camera, tool.BASE + stamp * tool.MS, arrived * tool.MS) for camera, stamp, arrived in frames]
    pairs = tool.oracle(frames, PairingSettings(hold_ns=100 * tool.MS))
    assert sorted(tuple((stamp - tool.BASE) // tool.MS for stamp in pair) for pair in pairs) == expected


def test_a_frame_whose_wait_is_over_gets_the_partner_that_the_rule_gives_it():
    """Of four frames in a row the middle two are not the nearest, and no camera's rate is known: nothing is certain."""
    ms, pairing = 1_000_000, Pairing(PairingSettings(hold_ns=50_000_000))
    for camera, stamp in (("rgb", 100), ("thermal", 115), ("rgb", 129), ("thermal", 142)):
        assert pairing.add(camera, stamp * ms, stamp * ms) == []
    (match,) = pairing.poll(150 * ms)
    assert (match.rgb.stamp_ns, match.thermal.stamp_ns) == (100 * ms, 115 * ms)
    (match,) = pairing.poll(179 * ms)
    assert (match.rgb.stamp_ns, match.thermal.stamp_ns) == (129 * ms, 142 * ms)
    assert not pairing.dropped
