"""Where the georeferenced datasets come from, and under which licence."""

from __future__ import annotations

from t4spp.components import Source

GEOTIFF_SOURCES = (
    Source(
        url="https://github.com/hotosm/fAIr-models",
        licence="pictures CC BY 4.0 (OpenAerialMap); polygons ODbL (OpenStreetMap)",
        note="preset banepa: data/sample, 48 labelled and 16 unlabelled tiles of Banepa, Nepal",
    ),
    Source(
        url="https://spacenet.ai/datasets/",
        licence="CC BY-SA 4.0",
        note="building footprints as GeoJSON in the picture's CRS; no preset",
    ),
)

XYZ_SOURCES = (
    Source(
        url="https://github.com/hotosm/fAIr-utilities",
        licence="pictures CC BY 4.0 (OpenAerialMap); polygons ODbL (OpenStreetMap)",
        note="ramp-data/sample_2: 147 tiles of zooms 19 to 21 with 206 buildings",
    ),
)

GEOSHAPES_SOURCES = (
    Source(
        url="generated",
        licence="CC0-1.0",
        note="written into the cache when first asked for; nothing to download",
    ),
)
