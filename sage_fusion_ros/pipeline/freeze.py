"""Finds the camera that goes on sending one image: a thermal camera's shutter, a driver that hangs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_SAMPLES = 256  # bytes compared of each message, which lie far apart; the whole of it only where these are equal


class FreezeWatch:
    """Follows one camera. Equal means equal in every byte: a live sensor's noise is never the same twice.

    Two equal images in a row are not yet a freeze, since some cameras repeat: time counts, by the camera's own stamps,
    so that a recording played slowly or paused freezes nothing. A single step of the stamps counts for half of the
    threshold at most; so it takes three equal images, and no jump of a clock makes a freeze alone.

    Attributes:
        frozen: Whether the camera is frozen now.
        changed_ns: Stamp of the first image that showed what the newest one shows; None before the first image.
    """

    def __init__(self) -> None:
        self.frozen = False
        self.changed_ns: int | None = None
        self._last_ns = 0
        self._still_ns = 0
        self._first: Any = None
        self._sample: npt.NDArray[np.uint8] | None = None

    def unchanged(self, data: Any) -> bool:
        """Whether a message's bytes are those of the message before it; data that are no bytes never are."""
        try:
            found = np.frombuffer(data, np.uint8)
        except (ValueError, TypeError, BufferError):
            self._sample = self._first = None
            return False
        # An odd step does not stay on one channel of the pixels, nor on one column of an image of even width.
        sample = found[:: (found.size // _SAMPLES) | 1]
        if (
            self._sample is not None
            and np.array_equal(sample, self._sample)
            and np.array_equal(found, np.frombuffer(self._first, np.uint8))
        ):
            return True
        self._sample, self._first = sample.copy(), data
        return False

    def note(self, stamp_ns: int, unchanged: bool, frozen_ns: int) -> bool:
        """Takes one image into account.

        Args:
            stamp_ns: Its stamp.
            unchanged: What `unchanged` said of it.
            frozen_ns: An image that stays for so long is a freeze; 0: never.

        Returns:
            Whether the camera is frozen with this image.
        """
        if not unchanged or self.changed_ns is None:
            self.changed_ns, self._still_ns = stamp_ns, 0
        else:
            self._still_ns += min(max(stamp_ns - self._last_ns, 0), frozen_ns // 2)
            self.changed_ns = min(self.changed_ns, stamp_ns)  # a loop of a still recording goes on being still
        self._last_ns = stamp_ns
        self.frozen = frozen_ns > 0 and unchanged and self._still_ns >= frozen_ns // 2 * 2
        return self.frozen
