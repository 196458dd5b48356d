"""Windows of scenes as pictures: bands chosen, scaled to uint8, resampled; what holds no data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from t4spp.errors import GeoError
from t4spp.geo.open_files import close_scene, read_bands
from t4spp.geo.resampling import Resampler, working_type
from t4spp.geo.scenes import Scene
from t4spp.types import BoolMask, Box, Image

PART_PIXELS = 2**22
"""Scene pixels that are read at once where a window is resampled."""

Band = Annotated[int, Field(ge=1)]
Limits = tuple[tuple[float, float], ...]
"""What becomes 0 and 255, a band."""


class Scaling(BaseModel):
    """How values become 0..255, linearly between two limits a band and clipped beyond."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["auto", "range", "percentiles", "std"] = "auto"
    """``auto``: uint8 as it is, all else by percentiles. ``range``: ``low`` and ``high`` are the
    values. ``percentiles`` of the sample's pixels with data. ``std``: the sample's mean and
    ``low``, ``high`` of its standard deviations."""
    low: float | None = Field(default=None, allow_inf_nan=False)
    """What becomes 0. None: percentile 2; -2 standard deviations."""
    high: float | None = Field(default=None, allow_inf_nan=False)
    """What becomes 255. None: percentile 98; +2 standard deviations."""
    sample: int = Field(default=1024, ge=16, le=8192)
    """The scene's statistics are those of every n-th pixel of every n-th row, n such that the
    longer side has at most this many; each scene has its own."""

    @model_validator(mode="after")
    def _fits_together(self) -> Scaling:
        low, high = self.bounds
        if low is None or high is None:
            raise ValueError("low, high: kind: range needs both, the values of black and white")
        if low >= high:
            raise ValueError(f"low, high: {low} is not below {high}")
        if self.kind in ("auto", "percentiles") and not 0 <= low < high <= 100:
            raise ValueError(f"low, high: percentiles lie in 0..100, received {low} and {high}")
        return self

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """``low`` and ``high``, the kind's own where not given."""
        usual: tuple[float | None, float | None] = {
            "auto": (2.0, 98.0),
            "percentiles": (2.0, 98.0),
            "std": (-2.0, 2.0),
            "range": (None, None),
        }[self.kind]
        return (
            usual[0] if self.low is None else self.low,
            usual[1] if self.high is None else self.high,
        )


class PictureView(BaseModel):
    """Which bands become red, green and blue, and how they are scaled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bands: tuple[Band, ...] | None = None
    """Red, green and blue, from 1; one band is grey. None: the first three, or the first one of
    scenes with less than three; alpha does not count."""
    scaling: Scaling = Field(default_factory=Scaling)
    """How their values become 0..255."""

    @model_validator(mode="after")
    def _one_or_three(self) -> PictureView:
        if self.bands is not None and len(self.bands) not in (1, 3):
            raise ValueError(
                f"bands: name one band (grey) or three (red, green, blue), received {self.bands}"
            )
        return self

    def bands_of(self, scene: Scene) -> tuple[int, ...]:
        """The bands that are read of a scene, one or three.

        Raises:
            GeoError: the scene has no such band.
        """
        if self.bands is not None:
            if max(self.bands) > scene.num_bands:
                raise GeoError(
                    f"{scene.path} has {scene.num_bands} bands, 'bands' names {list(self.bands)}. "
                    f"Choose among 1 to {scene.num_bands}."
                )
            return self.bands
        usable = [band for band in range(1, scene.num_bands + 1) if band != scene.alpha]
        return tuple(usable[:3]) if len(usable) >= 3 else tuple(usable[:1])


def find_limits(scene: Scene, view: PictureView) -> Limits | None:
    """The values that become 0 and 255, a band, by the view's scaling; None: values stay.

    Statistics are those of the stated sample of the whole scene, never of a window. A band
    without any data gets (0, 1).

    Raises:
        GeoError: the file cannot be read, or has changed since its header was read.
    """
    bands = view.bands_of(scene)
    scaling = view.scaling
    low, high = scaling.bounds
    assert low is not None and high is not None  # the model says so
    if scaling.kind == "range":
        return ((low, high),) * len(bands)
    if scaling.kind == "auto" and all(scene.dtypes[band - 1] == "uint8" for band in bands):
        return None
    pixels, valid = _sampled(scene, bands, scaling.sample)
    limits = []
    for band in pixels:
        values = band[valid].astype(np.float64)
        if not values.size:
            limits.append((0.0, 1.0))
        elif scaling.kind == "std":
            mean, deviation = float(values.mean()), float(values.std())
            limits.append((mean + low * deviation, mean + high * deviation))
        else:
            first, last = np.percentile(values, (low, high))
            limits.append((float(first), float(last)))
    return tuple(limits)


def _sampled(scene: Scene, bands: tuple[int, ...], side: int) -> tuple[npt.NDArray[Any], BoolMask]:
    """Every n-th pixel of every n-th row: [B, h, w] and valid bool[h, w]."""
    height, width = scene.size
    step = -(-max(height, width) // side)
    pixels, valids = [], []
    rows = max(PART_PIXELS // width, 1)
    for y0 in range(0, height, step * max(rows // step, 1)):
        y1 = min(y0 + step * max(rows // step, 1), height)
        if step > rows:
            y1 = y0 + 1
        part, valid = read_bands(scene, bands, Box(y0=y0, x0=0, y1=y1, x1=width))
        part = part[:, ::step, ::step].copy()  # a view would keep all that was read
        pixels.append(part)
        valids.append(
            np.ones(part.shape[1:], dtype=np.bool_)
            if valid is None
            else valid[::step, ::step].copy()
        )
    return np.concatenate(pixels, axis=1), np.concatenate(valids, axis=0)


class SceneReader:
    """Reads windows of one scene as pictures. Picklable; every process opens the file itself.

    The handle is opened at the first read and shared by all readers of a process, which keeps at
    most ``MAX_OPEN`` files open; workers that were forked open their own.
    """

    def __init__(self, scene: Scene, view: PictureView, limits: Limits | None = None) -> None:
        """Remember what to read.

        Args:
            scene: its header.
            view: bands and scaling.
            limits: what :func:`find_limits` said of both; None: found out at the first read, if
                the scaling needs it.

        Raises:
            GeoError: the scene lacks a band.
        """
        self.scene = scene
        self.view = view
        self._bands = view.bands_of(scene)
        self._limits = limits
        kinds = {scene.dtypes[band - 1] for band in self._bands}
        self._scaled = not (view.scaling.kind == "auto" and kinds == {"uint8"})

    def read(self, box: Box, out_size: tuple[int, int]) -> tuple[Image, BoolMask]:
        """uint8[h, w, 3] and valid bool[h, w] of a window.

        Beyond the scene, and where the file holds no data, pixels are 0 and not valid. A box of
        another size than ``out_size`` is resampled: area average where it shrinks, bilinear where
        it grows, pixels without data left out of both.

        Args:
            box: in the scene's pixels; it may reach beyond it.
            out_size: (h, w) of the picture.

        Raises:
            GeoError: the file cannot be read, or has changed since its header was read.
        """
        values, valid = self._values(box, out_size)
        if self._scaled:
            for band, limits in zip(values, self.limits(), strict=True):
                _stretch(band, limits)
        elif values.dtype != np.uint8:
            np.rint(values, out=values)
        picture = np.moveaxis(values, 0, 2)
        if picture.shape[2] == 3:
            image = np.ascontiguousarray(picture, dtype=np.uint8)
        else:  # one band is grey
            image = np.repeat(picture.astype(np.uint8), 3, axis=2)
        if not valid.all():
            image[~valid] = 0
        return image, valid

    def limits(self) -> Limits:
        """What becomes 0 and 255, a band."""
        if self._limits is None:
            self._limits = find_limits(self.scene, self.view) or ((0.0, 255.0),) * len(self._bands)
        return self._limits

    def valid(self, box: Box, out_size: tuple[int, int]) -> BoolMask:
        """bool[h, w]: where a window holds data; as :meth:`read` says it."""
        inner = _inside(box, self.scene.size)
        if inner is None or self.scene.has_gaps:
            return self._values(box, out_size)[1]
        if inner == box:
            return np.ones(out_size, dtype=np.bool_)
        # without gaps in the file, what is padded follows from the box alone
        resampler = Resampler(0, (box.height, box.width), out_size)
        resampler.add(
            inner.y0 - box.y0,
            inner.x0 - box.x0,
            np.zeros((0, inner.height, inner.width), dtype=np.uint8),
            np.ones((inner.height, inner.width), dtype=np.bool_),
        )
        return resampler.result()[1]

    def close(self) -> None:
        """Close this process's handle of the scene."""
        close_scene(self.scene)

    def _values(self, box: Box, out_size: tuple[int, int]) -> tuple[npt.NDArray[Any], BoolMask]:
        """[B, h, w], floating point where scaled or resampled, and valid bool[h, w]."""
        inner = _inside(box, self.scene.size)
        if inner is None:
            shape = (len(self._bands), *out_size)
            return np.zeros(shape, dtype=np.float32), np.zeros(out_size, dtype=np.bool_)
        if (box.height, box.width) != out_size:
            return self._resampled(box, inner, out_size)
        pixels, valid = read_bands(self.scene, self._bands, inner)
        if self._scaled:
            pixels = pixels.astype(working_type(pixels.dtype))
        if valid is None:
            valid = np.ones(pixels.shape[1:], dtype=np.bool_)
        if inner != box:
            y0, x0 = inner.y0 - box.y0, inner.x0 - box.x0
            rows, columns = slice(y0, y0 + inner.height), slice(x0, x0 + inner.width)
            whole = np.zeros((len(self._bands), *out_size), dtype=pixels.dtype)
            whole[:, rows, columns] = pixels
            known = np.zeros(out_size, dtype=np.bool_)
            known[rows, columns] = valid
            return whole, known
        return pixels, valid

    def _resampled(
        self, box: Box, inner: Box, out_size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.floating[Any]], BoolMask]:
        kind = np.result_type(*(self.scene.dtypes[band - 1] for band in self._bands))
        resampler = Resampler(
            len(self._bands), (box.height, box.width), out_size, working_type(kind)
        )
        rows = max(PART_PIXELS // inner.width, 1)
        for y0 in range(inner.y0, inner.y1, rows):
            part = Box(y0=y0, x0=inner.x0, y1=min(y0 + rows, inner.y1), x1=inner.x1)
            pixels, valid = read_bands(self.scene, self._bands, part)
            if valid is None:
                valid = np.ones(pixels.shape[1:], dtype=np.bool_)
            resampler.add(y0 - box.y0, part.x0 - box.x0, pixels, valid)
        return resampler.result()


def _inside(box: Box, size: tuple[int, int]) -> Box | None:
    """The part of a box that lies in the scene; None where there is none."""
    inner = Box(
        y0=max(box.y0, 0), x0=max(box.x0, 0), y1=min(box.y1, size[0]), x1=min(box.x1, size[1])
    )
    return inner if inner.height > 0 and inner.width > 0 else None


def _stretch(band: npt.NDArray[np.floating[Any]], limits: tuple[float, float]) -> None:
    """Scale in place to whole numbers in 0..255; what is not a number becomes 0."""
    low, high = limits
    band -= low
    band *= 255.0 / max(high - low, 1e-12)
    np.nan_to_num(band, copy=False, nan=0.0)
    np.rint(band, out=band)
    np.clip(band, 0, 255, out=band)
