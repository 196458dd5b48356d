"""The refiner that changes nothing."""

from __future__ import annotations

from typing import ClassVar

from t4spp.components import Refiner
from t4spp.types import Decoded, Image


class NoRefiner(Refiner):
    """Keeps the coarse masks; reads no pixels."""

    reads_pixels: ClassVar[bool] = False

    def refine(self, image: Image, decoded: Decoded) -> Decoded:
        """Return ``decoded`` itself."""
        return decoded
