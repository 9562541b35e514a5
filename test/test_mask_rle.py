"""Masks as runs: Autoware's bytes, held by bytes written out by hand and by its reader's rule."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.pipeline.mask_rle import decode_runs, encode_runs

MASKS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 9, 255]))


def test_the_bytes_are_autowares():
    mask = np.array([[9, 9, 14, 14], [14, 0, 0, 255], [255, 255, 255, 255]], np.uint8)
    golden = "09020000000e030000000002000000ff05000000"  # a run goes on over the end of a row
    assert encode_runs(mask).tobytes().hex() == golden
    assert (decode_runs(bytes.fromhex(golden), 3, 4) == mask).all()


def test_a_count_takes_all_four_bytes():
    assert encode_runs(np.full((480, 640), 9, np.uint8)).tobytes() == struct.pack("<Bi", 9, 307200)


@given(MASKS)
def test_a_mask_survives_and_never_runs_past_its_end(mask):
    data = encode_runs(mask)
    assert data.dtype == np.uint8
    written = 0
    for value, count in struct.iter_unpack("<Bi", data.tobytes()):
        assert count > 0
        assert (mask.ravel()[written : written + count] == value).all()
        written += count
    assert written == mask.size
    assert (decode_runs(data, *mask.shape) == mask).all()
    assert len(data) <= 5 * mask.size


def test_a_mask_that_is_a_view_of_another_is_read_row_by_row():
    wide = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert (decode_runs(encode_runs(wide[:, 1:3]), 4, 2) == wide[:, 1:3]).all()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (struct.pack("<Bi", 9, 11), "hold 11 pixels, but 4x3 are 12"),
        (struct.pack("<Bi", 9, 13), "hold 13 pixels, but 4x3 are 12"),
        (struct.pack("<BiBi", 9, 13, 9, -1), "the count -1"),
        (struct.pack("<BiBi", 9, 12, 9, 0), "the count 0"),
        (struct.pack("<Bi", 9, 12) + b"\0", "6 bytes are no whole runs"),
        (struct.pack("<BiBi", 9, 2**31 - 1, 9, 2**31 - 1), "hold 4294967294 pixels"),
        (b"", "hold 0 pixels"),
    ],
)
def test_runs_that_are_no_mask_of_that_size_are_refused(data, text):
    with pytest.raises(ImageFormatError, match=text):
        decode_runs(data, 3, 4)


@pytest.mark.parametrize("mask", [np.zeros((3, 4), np.uint16), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ImageFormatError, match="no runs"):
        encode_runs(mask)
