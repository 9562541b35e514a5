"""JPEG and PNG files in CompressedImage messages: valid ones, taken apart into segments and chunks and spoilt there.

What is changed keeps its checksum and its length right as a rule, so that the change gets past the header and into the
decoder; sometimes these are what is changed.
"""

from __future__ import annotations

import array
import struct
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from chooser import Chooser
from image_cases import refused, use

from sage_fusion_ros.errors import ImageFormatError
from sage_fusion_ros.pipeline.compressed_codec import MAX_PIXELS, check, decode, encode_compressed
from sage_fusion_ros.pipeline.image_file import PNG_SIGNATURE, read_header

FORMATS = (
    *("jpeg", "png", "", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", "mono8; jpeg compressed mono8"),
    *("16UC1; png compressed ", "mono16; jpeg compressed mono8", "rgb8; png compressed rgb8", "rgba8; png compressed "),
    *(
        "bayer_rggb8; jpeg compressed mono8",
        "bayer_grbg16; png compressed ",
        "bayer_x; png compressed ",
        ";;;",
        "; jpeg",
    ),
    *("32FC1; compressedDepth png", "RGB8; PNG compressed BGR8", "\0", "\n[ERROR] forged", "\U0001f600", "x" * 257),
)
_SIZES = ((1, 1), (1, 9), (8, 8), (7, 16), (17, 3), (24, 24))
_PIXELS = ((1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (4, 3), (8, 3), (8, 4), (16, 6))
_BOMB, _TEXT = zlib.compress(bytes(1 << 20), 9), zlib.compress(b"text")
_CONTAINERS: tuple[Callable[[bytes], Any], ...] = (
    bytes,
    lambda data: array.array("B", data),
    lambda data: np.frombuffer(data, "u1"),
)
Parts = list[tuple[Any, bytes]]  # marker or kind, content


def jpegs() -> list[bytes]:
    """Baseline, progressive and restarted JPEGs, grey and in colours, of each sampling."""
    random, found = np.random.default_rng(0), []
    for height, width in _SIZES:
        for channels in (1, 3):
            image = random.integers(0, 256, (height, width, channels), np.uint8)
            for options in (
                [cv2.IMWRITE_JPEG_QUALITY, 30],
                [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
                [cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
                [cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111],
            ):
                found.append(cv2.imencode(".jpg", image, options)[1].tobytes())
    return found


def png(width: int, height: int, bits: int, colour: int, interlace: int, raw: bytes) -> Parts:
    """The chunks of a PNG with these rows, each with its filter byte in front."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    palette = [(b"PLTE", bytes(range(48)))] if colour == 3 else []
    return [(b"IHDR", header), *palette, (b"IDAT", zlib.compress(raw, 1)), (b"IEND", b"")]


def make_jpeg(choose: Chooser) -> Any:
    """A message with a JPEG."""
    parts, pixels = choose.pick(_JPEGS)
    for _ in range(choose.pick((0, 1, 1, 1, 2, 4))):
        parts, pixels = spoil_jpeg(parts, pixels, choose)
    return message(join_jpeg(parts, pixels, choose), choose)


def make_png(choose: Chooser) -> Any:
    """A message with a PNG of any kind of pixels."""
    bits, colour = choose.pick(
        ((1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (4, 3), (8, 3), (8, 4), (16, 6))
    )
    height, width = choose.pick(_SIZES)
    row = (width * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8
    raw = b"".join(bytes([choose.below(5)]) + choose.raw(row) for _ in range(height))
    parts = png(width, height, bits, colour, int(choose.chance(5)), raw)
    for _ in range(choose.pick((0, 1, 1, 1, 2, 4))):
        parts = spoil_png(parts, raw, choose)
    return message(join_png(parts, choose), choose)


def message(data: bytes, choose: Chooser) -> Any:
    """The bytes as a message with the fields of sensor_msgs/CompressedImage; at times cut or with bits turned."""
    if choose.chance(8) and data:
        data = data[: choose.below(len(data))]
    if choose.chance(8) and data:
        place = choose.below(len(data))
        data = data[:place] + bytes([data[place] ^ (1 << choose.below(8))]) + data[place + 1 :]
    if choose.chance(30):
        data += choose.raw(choose.below(40))
    return SimpleNamespace(format=choose.pick(FORMATS), data=choose.pick(_CONTAINERS)(data))


def split_jpeg(data: bytes) -> tuple[Parts, bytes]:
    """The segments up to the first scan, and all that follows: pixels, further scans, the end."""
    parts, place = [], 2
    while data[place + 1] != 0xDA:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        parts.append((data[place + 1], data[place + 4 : place + 2 + length]))
        place += 2 + length
    return parts, data[place:]


def join_jpeg(parts: Parts, pixels: bytes, choose: Chooser) -> bytes:
    """The file; once in a while a segment lies about its length."""
    out = [b"\xff\xd8"]
    for marker, content in parts:
        length = choose.number(len(content) + 2) & 0xFFFF if choose.chance(60) else len(content) + 2
        out.append(struct.pack(">BBH", 0xFF, marker, length & 0xFFFF) + content)
    return b"".join(out) + pixels


def spoil_jpeg(parts: Parts, pixels: bytes, choose: Chooser) -> tuple[Parts, bytes]:
    """Changes one thing: a segment, what is in it, their order, or the pixels."""
    parts = list(parts)
    what, place = choose.below(9), choose.below(max(1, len(parts)))
    if what < 3:
        disarrange(parts, place, what, choose)
    elif what == 3:
        marker = choose.pick((0xE0, 0xE1, 0xEE, 0xDD, 0xDC, 0xFE, 0xC4, 0xDB, 0xC0, 0xC2, 0xC9, 0xC3, 0x01, 0xD0, 0xFF))
        parts.insert(choose.below(len(parts) + 1), (marker, choose.raw(choose.below(40))))
    elif what == 4:
        parts = [(m, sized(c, choose) if m in (0xC0, 0xC2) and len(c) > 5 else c) for m, c in parts]
    elif what == 5:
        parts = [(m, changed(c, choose) if m in (0xC0, 0xC2, 0xC4, 0xDB, 0xDD) else c) for m, c in parts]
    elif what == 6:
        pixels = changed(pixels, choose)
    elif what == 7:
        mark = bytes([0xFF, choose.pick((0xD0, 0xD7, 0xD9, 0xDA, 0xC4, 0xDB, 0xDC, 0xC0, 0x00))])
        place = choose.below(len(pixels) + 1)
        pixels = pixels[:place] + mark + choose.raw(choose.below(8)) + pixels[place:]
    else:
        more = choose.pick((b"\xff\xd9", b"", pixels * choose.pick((1, 1, 40))))
        pixels = pixels[: choose.below(len(pixels) + 1)] + more[: 1 << 17]
    return parts, pixels


_JPEGS = [split_jpeg(data) for data in jpegs()]


def sized(frame: bytes, choose: Chooser) -> bytes:
    """A frame header that claims another size."""
    height, width = struct.unpack(">HH", frame[1:5])
    sides = [choose.number(side) & 0xFFFF if choose.chance(2) else side for side in (height, width)]
    if sides[0] * sides[1] > 1 << 20 and not choose.chance(3000):
        sides[0] = 65535 if sides[1] > 600 else sides[0] % 64  # an honest try at megapixels takes its time: seldom
    return frame[:1] + struct.pack(">HH", *sides) + frame[5:]


def disarrange(parts: Parts, place: int, what: int, choose: Chooser) -> None:
    """Takes the part at a place out (0), puts it elsewhere once more (1), or changes what is in it (2)."""
    if not parts:
        return
    if what == 0:
        del parts[place]
    elif what == 1:
        parts.insert(choose.below(len(parts) + 1), parts[place])
    else:
        kind, content = parts[place]
        parts[place] = (kind, changed(content, choose))


def changed(content: bytes, choose: Chooser) -> bytes:
    """Some bytes with others in their place, or gone, or twice."""
    if not content:
        return choose.raw(1)
    place = choose.below(len(content))
    count = 1 + choose.below(3)
    new = choose.pick((choose.raw(count), b"\xff" * count, b"\x00" * count, b"", content[place : place + count] * 2))
    return content[:place] + new + content[place + count :]


def spoil_png(parts: Parts, raw: bytes, choose: Chooser) -> Parts:
    """Changes one thing: the header, the pixels before or after they are packed, a chunk or their order."""
    parts = list(parts)
    what, place = choose.below(9), choose.below(max(1, len(parts)))
    if what == 0:
        parts = [(k, header_changed(c, choose) if k == b"IHDR" and len(c) == 13 else c) for k, c in parts]
    elif what < 4:
        disarrange(parts, place, what - 1, choose)
    elif what == 4:
        rows = choose.pick((changed(raw, choose), raw[: choose.below(len(raw) + 1)], raw * 3, b"", b"\xff" * len(raw)))
        parts = [(k, zlib.compress(rows, 1) if k == b"IDAT" else c) for k, c in parts]
    elif what == 5:
        parts = [piece for k, c in parts for piece in ([(k, c[:9]), (k, c[9:])] if k == b"IDAT" else [(k, c)])]
    elif what == 6:
        parts.insert(choose.below(len(parts) + 1), extra(choose))
    elif what == 7 and len(parts) > 1:
        other = choose.below(len(parts))
        parts[place], parts[other] = parts[other], parts[place]
    else:
        parts = [(k, changed(c, choose) if k in (b"IDAT", b"PLTE") else c) for k, c in parts]
    return parts


def header_changed(content: bytes, choose: Chooser) -> bytes:
    """A header that claims another size or another kind of pixels."""
    fields = list(struct.unpack(">IIBBBBB", content))
    which = choose.below(7)
    if which < 2:
        fields[which] = choose.number(fields[which])
        if 1 << 20 < fields[0] * fields[1] <= MAX_PIXELS and not choose.chance(3000):
            fields[which] %= 64
    else:
        fields[which] = choose.pick((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return struct.pack(">IIBBBBB", *(min(field, 2**32 - 1) for field in fields))


def extra(choose: Chooser) -> tuple[bytes, bytes]:
    """A chunk beside the pixels: text and profiles that unpack to much, animation, transparency, what no one knows."""
    bomb = _BOMB if choose.chance(50) else _TEXT
    return choose.pick(
        (
            (b"zTXt", b"key\0\0" + bomb),
            (b"iCCP", b"name\0\0" + bomb),
            (b"iTXt", b"key\0\1\0\0\0" + bomb),
            (b"tRNS", choose.raw(choose.below(300))),
            (b"acTL", struct.pack(">II", choose.number(2), 0)),
            (b"fcTL", struct.pack(">IIIIIHHBB", 0, choose.number(8), choose.number(8), 0, 0, 1, 1, 0, 0)),
            (b"fdAT", choose.raw(20)),
            (b"gAMA", choose.raw(4)),
            (b"eXIf", choose.raw(30)),
            (b"ABCD", choose.raw(5)),
            (b"IDAT", _TEXT),
            (b"PLTE", choose.raw(choose.below(20))),
        )
    )


def join_png(parts: Parts, choose: Chooser) -> bytes:
    """The file; once in a while a chunk lies about its length or its checksum."""
    out = [PNG_SIGNATURE]
    for kind, content in parts:
        length = min(choose.number(len(content)), 2**32 - 1) if choose.chance(80) else len(content)
        checksum = zlib.crc32(kind + content) ^ int(choose.chance(80))
        out.append(struct.pack(">I", length) + kind + content + struct.pack(">I", checksum))
    return b"".join(out)


def test(case: Any) -> str:
    """Decodes a message and uses the image; see image_cases.test."""
    try:
        _, width, height = check(case)
        image = decode(case)
    except ImageFormatError as error:
        refused(error)
        return error.reason
    header = read_header(memoryview(case.data))
    assert image.shape[:2] == (height, width) == (header.height, header.width)
    assert image.dtype in (np.uint8, np.uint16)
    assert image.shape[2:] in ((), (3,))
    if image.size < 1 << 16:
        use(image)
        packed = encode_compressed(image, lossless=True)
        assert (decode(packed) == image).all(), "what is packed without loss comes back"
    return "read"
