"""What the bytes of a JPEG or PNG file say of themselves, read before any decoder sees them.

A few kilobytes can claim gigabytes of pixels, and a file that was cut off decodes to grey without a word. So size and
kind are read from the header here, and what is damaged is told, by the two formats alone: ITU T.81 (JPEG), annex B, and
the W3C's PNG specification, chapters 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from sage_fusion_ros.errors import ImageFormatError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
MAX_SEGMENTS = 512  # before the JPEG's frame header; an ICC profile takes up to 255
MAX_SCANS = 32  # progressive files have ten or so; each one costs the decoder a run over the whole image
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette's entries are colours
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


@dataclass(frozen=True)
class FileHeader:
    """What a file claims to hold.

    Attributes:
        kind: "jpeg" or "png".
        width: Pixels, from 1.
        height: Likewise.
        channels: 1 to 4, a palette counted as the three of its colours.
        bits: Of a channel: 8 or 16; fewer bits of a PNG count as the 8 that they become.
    """

    kind: str
    width: int
    height: int
    channels: int
    bits: int

    @property
    def is_deep_colour(self) -> bool:
        """Whether it becomes several channels of 16 bits, of which 8 are used: colours, or grey with alpha."""
        return self.bits > 8 and self.channels > 1

    @property
    def decoded_bytes(self) -> int:
        """What its pixels take in memory."""
        return self.width * self.height * self.channels * self.bits // 8


def read_header(data: bytes | memoryview) -> FileHeader:
    """Reads what a JPEG or PNG claims to hold; nothing is decoded and no more than the header is looked at.

    Args:
        data: The whole file, or at least all of it up to the pixels.

    Raises:
        ImageFormatError: It is empty, of another format, damaged before the pixels, or of a kind that no camera sends
            (lossless, hierarchical, arithmetic or 12-bit JPEG, CMYK).
    """
    if not len(data):
        raise ImageFormatError("it is empty", "damaged")
    if bytes(data[:8]) == PNG_SIGNATURE:
        return _png_header(data)
    if bytes(data[:2]) == JPEG_SIGNATURE:
        return _jpeg_header(data)
    raise ImageFormatError(f"it is neither JPEG nor PNG; its first bytes are {bytes(data[:8]).hex(' ')}", "format")


def damage(data: bytes) -> str:
    """What is wrong with the whole of a JPEG or PNG file, or empty; other formats are not looked into.

    A JPEG's end marker and a PNG's chunks with their checksums show whether something is missing.
    """
    if not data:
        return "it is empty"
    if data.startswith(JPEG_SIGNATURE):
        # Image data escapes 0xff, so after the last start of scan the only end-of-image marker is the real one.
        return "" if data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") else "the JPEG data ends early"
    if data.startswith(PNG_SIGNATURE):
        return _png_damage(data)
    return ""


def without_extras(data: bytes) -> bytes:
    """A PNG without the chunks that are no pixels: text, profiles, animation; they are a decoder's wider doors.

    Args:
        data: A PNG in which `damage` found nothing. It comes back as it is where it has no such chunks.
    """
    kept, position, dropped = [PNG_SIGNATURE], len(PNG_SIGNATURE), False
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if kind in _PIXEL_CHUNKS:
            kept.append(data[position:end])
        else:
            dropped = True
        if kind == b"IEND":
            break
        position = end
    return b"".join(kept) if dropped else data


def scan_count(data: bytes) -> int:
    """How often a JPEG's decoder has to run over the image, or a little more."""
    return data.count(b"\xff\xda")


def _jpeg_header(data: bytes | memoryview) -> FileHeader:
    position = 2
    for _ in range(MAX_SEGMENTS):
        if position + 4 > len(data):
            raise ImageFormatError("the JPEG data ends before its size", "damaged")
        if data[position] != 0xFF:
            raise ImageFormatError(f"the JPEG has no marker at byte {position}, where one must stand", "damaged")
        marker = data[position + 1]
        if marker == 0xFF:  # a marker may have fill bytes in front
            position += 1
            continue
        length = data[position + 2] << 8 | data[position + 3]
        if marker in (_BASELINE, _EXTENDED, _PROGRESSIVE):
            return _jpeg_frame(bytes(data[position + 4 : position + 2 + length]), length)
        if marker in _OTHER_FRAMES:
            raise ImageFormatError(
                f"the JPEG is of the kind 0x{marker:02x}; baseline and progressive are read", "format"
            )
        if marker < _BASELINE or 0xD0 <= marker <= 0xDA or length < 2:
            raise ImageFormatError(f"the JPEG has the marker 0x{marker:02x} before its size", "damaged")
        position += 2 + length
    raise ImageFormatError(f"the JPEG has more than {MAX_SEGMENTS} segments before its size", "damaged")


def _jpeg_frame(frame: bytes, length: int) -> FileHeader:
    if len(frame) < 6 or length != 8 + 3 * frame[5]:
        raise ImageFormatError("the JPEG's frame header is damaged", "damaged")
    bits, height, width, channels = struct.unpack(">BHHB", frame[:6])
    if bits != 8 or channels not in (1, 3):
        raise ImageFormatError(
            f"the JPEG has {channels} channels of {bits} bits; 1 or 3 channels of 8 bits are read", "format"
        )
    if not width or not height:
        raise ImageFormatError(f"the JPEG's size is {width}x{height}", "size")
    return FileHeader("jpeg", width, height, channels, bits)


def _png_header(data: bytes | memoryview) -> FileHeader:
    if len(data) < 33 or bytes(data[8:16]) != b"\x00\x00\x00\x0dIHDR":
        raise ImageFormatError("the PNG does not begin with a whole header", "damaged")
    width, height, bits, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", data[16:29])
    if bits not in _PNG_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise ImageFormatError(
            f"the PNG's header claims {bits} bits, colour type {colour}, compression {compression}, filter {filtering} "
            f"and interlace {interlace}, which do not go together",
            "format",
        )
    if not (0 < width < 1 << 31 and 0 < height < 1 << 31):
        raise ImageFormatError(f"the PNG's size is {width}x{height}", "size")
    return FileHeader("png", width, height, _PNG_CHANNELS[colour], max(8, bits))


def _png_damage(data: bytes) -> str:
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        kind = data[position + 4 : position + 8]
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"a checksum of the PNG is wrong (chunk {kind.decode('latin-1')!a})"
        if kind == b"IEND":
            return ""
        position = end + 4
    return "the PNG data ends early"
