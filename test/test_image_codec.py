"""Image messages: every encoding, step and byte order; hostile fields give a clear error."""

import array
import importlib.util
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.pipeline.image_codec import ENCODINGS, as_rgb, as_thermal, decode, encode


def message(image, encoding, *, padding=0, big_endian=False):
    """An image message as a driver would send it."""
    image = np.ascontiguousarray(image)
    if big_endian:
        image = image.astype(image.dtype.newbyteorder(">"))
    rows = image.reshape(image.shape[0], -1).view(np.uint8)
    rows = np.hstack([rows, np.full((len(rows), padding), 0xAB, np.uint8)])
    return SimpleNamespace(
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=array.array("B", rows.tobytes()),
    )


@pytest.fixture
def colour():
    rng = np.random.default_rng(0)
    small = rng.integers(30, 220, (12, 16, 3), np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)


images = st.sampled_from([(np.uint8, 3), (np.uint8, 0), (np.uint16, 0), (np.float32, 0)]).flatmap(
    lambda kind: st.tuples(st.just(kind), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
)


@settings(max_examples=100, deadline=None)
@given(images)
def test_decode_is_the_inverse_of_encode(case):
    (dtype, channels), height, width, seed = case
    shape = (height, width, channels) if channels else (height, width)
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)
    decoded = decode(encode(image))
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, image)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 9), st.booleans())
def test_step_padding_and_byte_order(height, width, padding, big_endian):
    counts = np.arange(height * width, dtype=np.uint16).reshape(height, width) * 257
    decoded = decode(message(counts, "16UC1", padding=padding, big_endian=big_endian))
    np.testing.assert_array_equal(decoded, counts)
    kelvin = counts.astype(np.float32) / 7
    np.testing.assert_array_equal(decode(message(kelvin, "32FC1", padding=padding, big_endian=big_endian)), kelvin)


@pytest.mark.parametrize(
    ("encoding", "convert"),
    [
        ("rgb8", None),
        ("RGB8", None),
        ("bgr8", cv2.COLOR_RGB2BGR),
        ("rgba8", cv2.COLOR_RGB2RGBA),
        ("bgra8", cv2.COLOR_RGB2BGRA),
        ("8UC3", cv2.COLOR_RGB2BGR),
    ],
)
def test_colour_encodings(colour, encoding, convert):
    sent = colour if convert is None else cv2.cvtColor(colour, convert)
    np.testing.assert_array_equal(decode(message(sent, encoding, padding=5)), colour)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern, bits):
    """A smooth scene behind each mosaic comes back in its own colours."""
    y, x = np.mgrid[0:40, 0:48]
    scene = np.dstack([60 + x * 3, 200 - y * 2, 40 + x + y]).astype(np.uint8)
    mosaic = np.empty(scene.shape[:2], np.uint8)
    for place, letter in enumerate(pattern):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        mosaic[rows, columns] = scene[rows, columns, "rgb".index(letter)]
    sent = mosaic if bits == 8 else mosaic.astype(np.uint16) << 8
    decoded = decode(message(sent, f"bayer_{pattern}{bits}"))
    assert decoded.dtype == np.uint8
    assert np.abs(decoded[4:-4, 4:-4].astype(int) - scene[4:-4, 4:-4]).max() <= 6


@pytest.mark.parametrize(
    ("encoding", "luma_first"), [("yuv422", False), ("uyvy", False), ("yuv422_yuy2", True), ("yuyv", True)]
)
def test_yuv422(encoding, luma_first):
    """A grey ramp with one colour cast: luma and chroma land in the right place."""
    red = np.full((8, 16, 3), (200, 40, 60), np.uint8)
    y, cr, cb = (int(v) for v in cv2.cvtColor(red, cv2.COLOR_RGB2YCrCb)[0, 0])
    y = round(16 + y * 219 / 255)  # these encodings carry studio-range luma
    cb, cr = (round(128 + (c - 128) * 224 / 255) for c in (cb, cr))
    packed = np.empty((8, 16, 2), np.uint8)
    packed[..., 0 if luma_first else 1] = y
    packed[:, 0::2, 1 if luma_first else 0] = cb
    packed[:, 1::2, 1 if luma_first else 0] = cr
    decoded = decode(message(packed, encoding))
    assert decoded.shape == (8, 16, 3)
    assert np.abs(decoded.astype(int) - red).max() < 25
    assert decoded[0, 0, 0] > 170 > 90 > decoded[0, 0, 1]


def test_grey_becomes_rgb_and_colour_becomes_thermal(colour):
    grey = colour[..., 0]
    assert (as_rgb(decode(message(grey, "mono8"))) == grey[..., None]).all()
    assert (as_rgb(decode(message(grey.astype(np.uint16) << 8, "mono16"))) == grey[..., None]).all()
    np.testing.assert_array_equal(as_thermal(decode(message(np.dstack([grey] * 3), "bgr8"))), grey)
    with pytest.raises(ImageFormatError, match="swapped"):
        as_rgb(np.zeros((4, 4), np.float32))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"encoding": "jpeg"}, "encoding 'jpeg' is not supported"),
        ({"encoding": "x" * 10**6}, "is not supported"),
        ({"height": 0}, "16x0"),
        ({"width": 0}, "0x8"),
        ({"width": -1}, "-1x8"),
        ({"height": 2**32 - 1, "width": 2**32 - 1}, "not a usable image size"),
        ({"step": 47}, "a row of 16 pixels in rgb8 takes 48"),
        ({"step": 0}, "step is 0"),
        ({"step": 2**31}, "cut short"),
        ({"data": array.array("B", bytes(100))}, "data holds 100 bytes, but 8 rows of step 48 take 384"),
        ({"data": array.array("B")}, "data holds 0 bytes"),
        ({"data": None}, "can't be read as bytes"),
    ],
)
def test_hostile_fields_are_refused(change, text):
    good = encode(np.zeros((8, 16, 3), np.uint8))
    with pytest.raises(ImageFormatError, match=text) as caught:
        decode(replace(good, **change))
    assert len(str(caught.value)) < 600


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ENCODINGS),
    st.integers(-3, 70),
    st.integers(-3, 70),
    st.integers(-10, 400),
    st.integers(0, 3000),
    st.booleans(),
)
def test_any_message_decodes_or_is_refused(encoding, height, width, step, size, big_endian):
    case = SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=big_endian, step=step, data=bytes(size)
    )
    try:
        image = decode(case)
    except ImageFormatError:
        return
    assert image.shape[:2] == (height, width)
    image.sum()  # touches every pixel: memory outside the message would show here


def test_encode_refuses_what_has_no_encoding():
    with pytest.raises(ImageFormatError, match="no image encoding"):
        encode(np.zeros((4, 4), np.int64))


def test_equals_cv_bridge(colour):
    if importlib.util.find_spec("cv_bridge") is None:
        pytest.skip("cv_bridge is not installed")
    from cv_bridge import CvBridge
    from sensor_msgs.msg import Image

    bridge = CvBridge()
    for encoding, sent in {
        "rgb8": colour,
        "bgr8": cv2.cvtColor(colour, cv2.COLOR_RGB2BGR),
        "rgba8": cv2.cvtColor(colour, cv2.COLOR_RGB2RGBA),
        "bayer_rggb8": colour[..., 0],
        "yuv422": colour[..., :2],
        "yuv422_yuy2": colour[..., :2],
    }.items():
        fields = message(sent, encoding)
        image = Image(height=fields.height, width=fields.width, encoding=encoding, step=fields.step, data=fields.data)
        np.testing.assert_array_equal(as_rgb(decode(image)), bridge.imgmsg_to_cv2(image, "rgb8"))
