"""Faults in compressed images: files cut short, files that claim to be huge, and what is no image."""

import array
import struct

from fault_rig import RGB, picture
from fault_table import fault

from sage_fusion_ros.pipeline.compressed_codec import encode_compressed


def file_of(number, lossless=False):
    return bytes(encode_compressed(picture(RGB, number), lossless=lossless).data)


def bomb(number):
    png = file_of(number, lossless=True)
    return png[:16] + struct.pack(">II", 60_000, 60_000) + png[24:]


FILES = (
    ("a JPEG cut short", lambda number: file_of(number)[:60]),
    ("a PNG that claims 60000x60000 pixels", bomb),
    ("no image at all", lambda number: b"hello" * 100),
    ("no byte at all", lambda number: b""),
)
for what, make in FILES:

    @fault("Compressed images", what, "refused by reason and counted; good files go on as pairs", needs="compressed")
    def bad_file(rig, make=make):
        before = int(rig.value("input rgb", "unreadable") or 0)
        rig.until(
            lambda: int(rig.value("input rgb", "unreadable") or 0) > before,
            "the refusal in diagnostics",
            rgb=lambda number: {"data": array.array("B", make(number))},
        )
        return f'"{rig.value("input rgb", "last_error")[:140]}"'
