"""Pairs of still images in a folder."""

from __future__ import annotations

from pathlib import Path

from sage_fusion_ros.sources.base import Camera, SourcePair, check_index
from sage_fusion_ros.sources.images import read_rgb, read_thermal
from sage_fusion_ros.sources.layouts import PairPath, find_pairs


class FolderSource:
    """The pairs that `find_pairs` finds, in the order of their names.

    Public sets are picked from longer recordings, so neighbours are no sequence: there is no frame rate and no stamps.

    Raises:
        SourceError: When the folder holds no pairs.
    """

    kind = "folder"
    frame_rate = None
    is_sequence = False

    def __init__(self, root: Path) -> None:
        listing = find_pairs(root)
        self.name = str(root)
        self.layout = listing.layout
        self.skipped = list(listing.skipped)
        self._pairs = listing.pairs

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._pairs)

    def paths(self, index: int) -> PairPath:
        """Name and files of one pair."""
        check_index(index, len(self))
        return self._pairs[index]

    def read(self, index: int) -> SourcePair:
        """Reads one pair; see PairSource."""
        path = self.paths(index)
        return SourcePair(index, read_rgb(path.rgb), read_thermal(path.thermal))

    def stamps_ns(self, index: int) -> None:
        """Stills carry no times."""

    def intrinsics(self, camera: Camera) -> None:
        """Unknown."""

    def close(self) -> None:
        """Holds nothing open."""
