"""CompressedImage in and out: image_transport's format strings, every kind of JPEG and PNG, and files that lie."""

import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.pipeline import compressed_codec
from sage_fusion_ros.pipeline.compressed_codec import Packing, check, decode, encode_compressed
from sage_fusion_ros.pipeline.image_codec import encode
from sage_fusion_ros.pipeline.image_file import read_header

RGB = cv2.resize(np.random.default_rng(0).integers(30, 220, (6, 8, 3), np.uint8), (64, 48))
GREY = RGB[..., 0].copy()
COUNTS = GREY.astype(np.uint16) * 257


def message(text, data):
    return SimpleNamespace(format=text, data=bytes(data))


def packed(image, suffix, *options):
    return cv2.imencode(suffix, image, options)[1].tobytes()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, bits, colour, rows, *extra):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("image", "lossless", "text"),
    [
        (RGB, False, "rgb8; jpeg compressed bgr8"),
        (GREY, False, "mono8; jpeg compressed mono8"),
        (RGB, True, "rgb8; png compressed bgr8"),
        (GREY, True, "mono8; png compressed "),
        (COUNTS, True, "mono16; png compressed "),
        (COUNTS, False, "mono16; png compressed "),
    ],
)
def test_what_is_packed_is_named_as_image_transport_names_it_and_comes_back(image, lossless, text):
    found = encode_compressed(image, lossless=lossless)
    assert found.format == text
    assert check(found) == (text.strip(), 64, 48)
    difference = np.abs(decode(found).astype(int) - image)
    assert difference.max() == 0 if "png" in text else difference.mean() < 2


def test_quality_and_level_change_the_size():
    sizes = [len(encode_compressed(RGB, lossless=False, packing=Packing(jpeg_quality=q)).data) for q in (5, 50, 95)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2
    flat, hard = (len(encode_compressed(RGB, lossless=True, packing=Packing(png_level=n)).data) for n in (0, 9))
    assert hard < flat


def test_a_name_of_the_drivers_own_and_what_fits_into_no_file():
    assert encode_compressed(COUNTS, lossless=True, encoding="16UC1").format == "16UC1; png compressed "
    with pytest.raises(ImageFormatError, match="float32 images can't be packed"):
        encode_compressed(GREY.astype(np.float32), lossless=True)


def test_a_raw_message_goes_the_same_way():
    assert (decode(encode(RGB)) == RGB).all()
    assert check(encode(COUNTS)) == ("mono16", 64, 48)


@pytest.mark.parametrize("text", ["jpeg", "png", "", "rgb8; png compressed bgr8", "bgr8; png compressed bgr8"])
def test_colours_are_in_the_order_of_opencv_unless_format_says_otherwise(text):
    data = packed(RGB[..., ::-1], ".png")
    assert (decode(message(text, data)) == RGB).all()


@pytest.mark.parametrize("text", ["rgb8; png compressed rgb8", "bgr8; png compressed "])
def test_an_encoder_that_did_not_turn_the_colours_says_so_in_format(text):
    assert (decode(message(text, packed(RGB, ".png"))) == RGB).all()


def test_every_kind_of_file_becomes_rgb_or_one_channel():
    row = b"\0" + bytes(range(10))
    for bits, colour, rows, shape, dtype in (
        (1, 0, b"\0\xaa\xaa" * 4, (4, 10), np.uint8),
        (8, 0, row * 4, (4, 10), np.uint8),
        (16, 0, (row + bytes(10)) * 4, (4, 10), np.uint16),
        (8, 2, (b"\0" + bytes(30)) * 4, (4, 10, 3), np.uint8),
        (16, 2, (b"\0" + bytes(60)) * 4, (4, 10, 3), np.uint8),
        (8, 4, (b"\0" + bytes(20)) * 4, (4, 10, 3), np.uint8),
        (16, 4, (b"\0" + bytes(40)) * 4, (4, 10, 3), np.uint8),
        (8, 6, (b"\0" + bytes(40)) * 4, (4, 10, 3), np.uint8),
    ):
        image = decode(message("png", png(10, 4, bits, colour, rows)))
        assert (image.shape, image.dtype) == (shape, dtype), (bits, colour)
    deep = cv2.imencode(".png", RGB[..., ::-1].astype(np.uint16) * 257)[1]
    assert (decode(message("rgb16; png compressed bgr16", deep)) == RGB).all()
    alpha = cv2.imencode(".png", np.dstack([RGB[..., ::-1], GREY]))[1]
    assert (decode(message("rgba8; png compressed bgra8", alpha)) == RGB).all()
    assert (decode(message("rgba8; png compressed rgba8", alpha)) == RGB[..., ::-1]).all()
    palette = png(10, 4, 8, 3, b"\0" + bytes(10) + (b"\0" + b"\1" * 10) * 3, chunk(b"PLTE", bytes([9, 8, 7, 1, 2, 3])))
    assert decode(message("png", palette))[0, 0].tolist() == [9, 8, 7]
    for options in ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]):
        data = packed(RGB[..., ::-1], ".jpg", *options)
        assert np.abs(decode(message("jpeg", data)).astype(int) - RGB).mean() < 3


def test_a_mosaic_and_counts_in_a_jpeg_come_back_as_what_they_are():
    mosaic = np.full((16, 16), 100, np.uint8)
    image = decode(message("bayer_rggb8; jpeg compressed mono8", packed(mosaic, ".jpg")))
    assert image.shape == (16, 16, 3)
    assert decode(message("16UC1; jpeg compressed mono8", packed(mosaic, ".jpg"))).max() == 100 << 8
    with pytest.raises(ImageFormatError, match="'bayer_x' is no mosaic"):
        decode(message("bayer_x; png compressed ", packed(mosaic, ".png")))


def jpeg_of(width, height, **frame):
    """A JPEG whose header claims another size."""
    data = bytearray(packed(GREY, ".jpg"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    for offset, value in frame.values():
        data[place + offset] = value
    return bytes(data)


GOOD = packed(GREY, ".jpg")
DEEP = png(10, 4, 8, 0, b"\0" * 44)
HOSTILE = {
    "empty": (b"", "damaged", "it is empty"),
    "a gif": (b"GIF89a" + bytes(60), "format", "neither JPEG nor PNG; its first bytes are 47 49 46"),
    "half a jpeg": (GOOD[: len(GOOD) // 2], "damaged", "ends early"),
    "a jpeg's first bytes": (GOOD[:8], "damaged", "ends before its size"),
    "half a png": (DEEP[:-20], "damaged", "ends early"),
    "a png's first bytes": (DEEP[:20], "damaged", "whole header"),
    "a turned bit": (DEEP[:45] + bytes([DEEP[45] ^ 1]) + DEEP[46:], "damaged", "checksum of the PNG is wrong"),
    "a jpeg bomb": (jpeg_of(65_535, 65_535), "too large", "claims 65535x65535 pixels"),
    "a png bomb": (png(60_000, 60_000, 8, 0, b""), "too large", "claims 60000x60000 pixels"),
    "a deep bomb": (png(8000, 4000, 16, 6, b""), "too large", "8000x4000 pixels of 4 x 16 bits"),
    "no height": (jpeg_of(64, 0), "size", "64x0"),
    "no width": (png(0, 4, 8, 0, b""), "size", "0x4"),
    "a png of 2^32": (png(2**32 - 1, 1, 8, 0, b""), "size", "4294967295x1"),
    "12 bits": (jpeg_of(64, 48, bits=(4, 12)), "format", "1 channels of 12 bits"),
    "cmyk": (jpeg_of(64, 48, bits=(9, 4)), "damaged", "frame header is damaged"),
    "lossless": (GOOD.replace(b"\xff\xc0", b"\xff\xc3", 1), "format", "of the kind 0xc3"),
    "no marker": (b"\xff\xd8" + bytes(40), "damaged", "no marker at byte 2"),
    "a scan first": (b"\xff\xd8\xff\xda\x00\x08" + bytes(40), "damaged", "the marker 0xda before its size"),
    "segments without end": (b"\xff\xd8" + b"\xff\xe0\x00\x02" * 600, "damaged", "more than 512 segments"),
    "scans without end": (GOOD[:-2] + b"\xff\xda" * 40 + b"\xff\xd9", "format", "41 scans"),
    "pixels missing": (png(100, 100, 8, 0, b"\0" * 101), "damaged", "pixels are damaged or missing"),
    "a header that can't be": (png(4, 4, 3, 2, b""), "format", "do not go together"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_lies_is_refused_with_a_reason(name):
    data, reason, text = HOSTILE[name]
    with pytest.raises(ImageFormatError) as caught:
        decode(message("jpeg", data))
    assert (caught.value.reason, text in str(caught.value)) == (reason, True), str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["a jpeg bomb", "a png bomb", "a deep bomb"])
def test_a_bomb_never_meets_a_decoder(monkeypatch, name):
    monkeypatch.setattr(compressed_codec.cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageFormatError):
        decode(message("png", HOSTILE[name][0]))


def test_chunks_beside_the_pixels_never_meet_a_decoder(monkeypatch):
    seen, real = [], cv2.imdecode

    def decoder(data, flags):
        seen.append(bytes(data))
        return real(data, flags)

    monkeypatch.setattr(compressed_codec.cv2, "imdecode", decoder)
    extras = [
        chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 22))),
        chunk(b"acTL", struct.pack(">II", 2**31, 0)),
        chunk(b"eXIf", b"MM\0*" + bytes(20)),
    ]
    image = decode(message("png", png(10, 4, 8, 0, b"\0" * 44, *extras)))
    assert (image == 0).all()
    assert seen == [DEEP], "header, pixels and end alone"


def test_a_format_as_long_as_a_book_is_refused_short():
    with pytest.raises(ImageFormatError, match=r"format is 'x{40}... \(1000000 letters\)'") as caught:
        decode(message("x" * 1_000_000, GOOD))
    assert caught.value.reason == "format"
    with pytest.raises(ImageFormatError, match="can't be read as bytes"):
        decode(SimpleNamespace(format="jpeg", data=None))


def test_a_header_is_read_from_the_first_bytes():
    header = read_header(memoryview(GOOD))
    assert (header.kind, header.width, header.height, header.channels, header.bits) == ("jpeg", 64, 48, 1, 8)
    assert read_header(png(10, 4, 16, 6, b"")).bits == 16
