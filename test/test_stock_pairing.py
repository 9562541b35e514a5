"""pairing.method message_filters: the stock synchronizer where it is installed, a clear word where it is not."""

import sys

import pytest

from sage_fusion_ros.errors import ParameterError
from sage_fusion_ros.nodes.stock_pairing import StockPairing
from sage_fusion_ros.pipeline.pairing import PairingSettings

MS = 1_000_000
BASE = 1_700_000_000_000 * MS


def test_refused_by_name_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "message_filters", None)
    with pytest.raises(ParameterError, match=r"'message_filters', which is not installed here.*'nearest'"):
        StockPairing(PairingSettings())


def test_pairs_with_offset_and_driving_stamp():
    pytest.importorskip("message_filters", reason="message_filters is not installed")
    pairing = StockPairing(PairingSettings(thermal_offset_ns=40 * MS, drive="thermal"))
    found = []
    for i in range(10):
        found += pairing.add("rgb", BASE + i * 33 * MS, i, f"rgb {i}")
        found += pairing.add("thermal", BASE + i * 33 * MS + 40 * MS, i, f"thermal {i}")
    assert [match.rgb.payload for match in found] == [f"rgb {i}" for i in range(10)]
    assert [match.thermal.payload for match in found] == [f"thermal {i}" for i in range(10)]
    assert found[0].stamp_ns == BASE + 40 * MS
    assert pairing.matched == 10
    pairing.settings = PairingSettings(max_dt_ns=0)
    assert pairing.add("rgb", BASE + 5000 * MS, 0) == pairing.add("thermal", BASE + 5015 * MS, 0) == []
    pairing.clear("stopped")
    assert pairing.poll(10**19) == []
    assert pairing.next_deadline_ns() is None


def test_a_loop_opens_an_epoch_and_frames_can_be_noted_alone():
    pytest.importorskip("message_filters", reason="message_filters is not installed")
    pairing = StockPairing(PairingSettings())
    for lap in range(2):
        for i in range(30):
            frames = [pairing.note(camera, BASE + i * 33 * MS, i) for camera in ("rgb", "thermal")]
            assert {frame.epoch for frame in frames} == {lap}
    assert pairing.resets == 1
    assert pairing.matched == 0, "what is noted does not wait"
    assert pairing.wait(frames[0]) == []
    (match,) = pairing.wait(frames[1])
    assert (match.rgb, match.thermal) == tuple(frames)
