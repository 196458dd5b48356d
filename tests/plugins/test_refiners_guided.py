"""The guided filter, against a plain loop and on pictures whose edges are known."""

from __future__ import annotations

import numpy as np
import pytest
from support_sams import decoded, picture, square

from t4spp.plugins import load_catalogue
from t4spp.types import Region
from t4spp_plugins.refiners import guided_filter as module
from t4spp_plugins.refiners.configs import GUIDED_CHOICES, GuidedFilterConfig
from t4spp_plugins.refiners.guided_filter import GuidedFilterRefiner, guided_filter


def plain_guided_filter(guide, values, radius, smoothness):
    """Equations 14 to 16, window by window, edges repeated."""
    pad = [(radius[0],) * 2, (radius[1],) * 2]

    def windows(array):
        padded = np.pad(array, pad + [(0, 0)] * (array.ndim - 2), mode="edge")
        size = (2 * radius[0] + 1, 2 * radius[1] + 1)
        for row in range(array.shape[0]):
            for column in range(array.shape[1]):
                yield padded[row : row + size[0], column : column + size[1]]

    slopes, offsets = [], []
    for colours, part in zip(windows(guide), windows(values), strict=True):
        flat = colours.reshape(-1, 3)
        variance = np.cov(flat.T, bias=True) + smoothness * np.eye(3)
        covariance = ((flat - flat.mean(0)) * part.reshape(-1, 1)).mean(0)
        slope = np.linalg.solve(variance, covariance)
        slopes.append(slope)
        offsets.append(part.mean() - slope @ flat.mean(0))
    slopes = np.array(slopes).reshape(guide.shape)
    offsets = np.array(offsets).reshape(values.shape)
    mean_slopes = np.array([w.reshape(-1, 3).mean(0) for w in windows(slopes)])
    mean_offsets = np.array([w.mean() for w in windows(offsets)])
    found = (mean_slopes * guide.reshape(-1, 3)).sum(1) + mean_offsets
    return found.reshape(values.shape)


def test_filter_is_the_papers_window_by_window() -> None:
    rng = np.random.default_rng(0)
    guide, values = rng.random((9, 11, 3)), rng.random((9, 11))
    expected = plain_guided_filter(guide, values, (2, 1), 0.01)
    assert np.allclose(guided_filter(guide, values, (2, 1), 0.01), expected)


def two_colours(edge: int) -> np.ndarray:
    """120 x 160 pixels: one colour above the row ``edge``, another from it on, some noise."""
    image = np.full((120, 160, 3), 60, dtype=np.int64)
    image[edge:] = (180, 120, 90)
    noise = np.random.default_rng(0).integers(-5, 6, image.shape)
    return (image + noise).astype(np.uint8)


def test_mask_edge_moves_to_the_pictures_edge() -> None:
    mask = np.zeros((120, 160), dtype=np.bool_)
    mask[50:] = True  # the truth begins at 52
    coarse = Region(label="ground", mask=mask, soft=mask.astype(np.float32), cell=(10.0, 10.0))
    refiner = GuidedFilterRefiner(GuidedFilterConfig())
    (fine,) = refiner.refine(two_colours(52), decoded(coarse)).regions
    assert np.array_equal(fine.mask[:, 20:140], two_colours(52)[:, 20:140, 0] > 120)
    assert refiner.counters() == {"refined": 1}


def test_bands_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = square(20, 30, 80)
    refiner = GuidedFilterRefiner(GuidedFilterConfig())
    whole = refiner.refine(picture(), decoded(coarse)).regions[0]
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 900)
    parts = refiner.refine(picture(), decoded(coarse)).regions[0]
    assert np.allclose(whole.soft, parts.soft, atol=1e-6)


def test_cells_of_a_pixel_keep_their_mask() -> None:
    refiner = GuidedFilterRefiner(GuidedFilterConfig())
    before = square(30, 30, 40, cell=(1.9, 1.9))
    assert refiner.refine(picture(), decoded(before)).regions[0] is before
    assert refiner.counters() == {"kept_fine": 1}


@pytest.mark.parametrize("size", [(1, 4000), (3, 3), (1, 1)])
def test_odd_pictures_and_single_pixels_are_refined(size: tuple[int, int]) -> None:
    refiner = GuidedFilterRefiner(GuidedFilterConfig(min_agreement=0.0))
    one = np.zeros(size, dtype=np.bool_)
    one[0, size[1] // 2] = True
    for mask in (one, np.ones(size, dtype=np.bool_)):
        fine = refiner.refine(picture(size), decoded(Region(label="x", mask=mask)))
        assert fine.regions[0].mask.any()


def test_empty_answers_stay_empty() -> None:
    refiner = GuidedFilterRefiner(GuidedFilterConfig())
    assert refiner.refine(picture(), decoded()).regions == ()
    assert not refiner.refine(picture(), decoded(square(0, 0, 0))).regions[0].mask.any()
    assert refiner.counters() == {"kept_empty": 1}


def test_trying_configs_gives_what_each_alone_gives() -> None:
    regions = decoded(square(30, 40, 50), square(5, 100, 24, cell=(6.0, 3.0)))
    configs = [
        GuidedFilterConfig(),
        GuidedFilterConfig(radius=1.0, reach=None, min_agreement=0.0),
        GuidedFilterConfig(radius=1.0),
    ]
    together = GuidedFilterRefiner(configs[0]).refine_under(picture(), regions, configs)
    for config, found in zip(configs, together, strict=True):
        alone = GuidedFilterRefiner(config).refine(picture(), regions)
        for one, other in zip(found.regions, alone.regions, strict=True):
            assert np.array_equal(one.mask, other.mask)


def test_default_params_are_the_first_choices_and_the_catalogue_builds_them() -> None:
    defaults = GuidedFilterConfig().model_dump()
    assert {name: values[0] for name, values in GUIDED_CHOICES.items()} == {
        name: defaults[name] for name in GUIDED_CHOICES
    }
    built = load_catalogue().build("refiner", "guided-filter", {"radius": 0.25})
    assert built.params.radius == 0.25
