"""The core's own schemes, registered through the same hook as anybody's."""

from __future__ import annotations

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp.schemes.box_outline import BoxOutline, BoxOutlineParams
from t4spp.schemes.box_wise import BoxParams
from t4spp.schemes.image_text import ImageFull, ImageIrle, ImageRrle
from t4spp.schemes.image_wise import ImageParams
from t4spp.schemes.next_brick import NextBrick, NextBrickParams
from t4spp.schemes.polygon import Polygon, PolygonParams
from t4spp.schemes.semantic_brick import SemanticBrick
from t4spp.schemes.span_brick import SpanBrick, SpanBrickParams
from t4spp.schemes.vq_mask import VqMask, VqMaskParams


@hookimpl
def t4spp_schemes() -> list[Component]:
    """The schemes of the core."""
    return [
        Component(
            name=ImageFull.name,
            config=ImageParams,
            build=ImageFull,
            summary="the label of every cell of a grid over the picture (Text4Seg), plain text",
        ),
        Component(
            name=ImageIrle.name,
            config=ImageParams,
            build=ImageIrle,
            summary="the same, run-length coded over the whole image, plain text",
        ),
        Component(
            name=ImageRrle.name,
            config=ImageParams,
            build=ImageRrle,
            summary="the same, run-length coded row by row (R-RLE), plain text",
        ),
        Component(
            name=SemanticBrick.name,
            config=BoxParams,
            build=SemanticBrick,
            summary="box and runs on a grid inside it, in words and digits, plain text",
        ),
        Component(
            name=NextBrick.name,
            config=NextBrickParams,
            build=NextBrick,
            summary="box and runs on a grid inside it, each coordinate and run one new token",
        ),
        Component(
            name=SpanBrick.name,
            config=SpanBrickParams,
            build=SpanBrick,
            summary="box and the foreground spans of each row inside it, each one new token",
        ),
        Component(
            name=Polygon.name,
            config=PolygonParams,
            build=Polygon,
            summary="the vertices of each region's outline, in new tokens or in digits",
        ),
        Component(
            name=BoxOutline.name,
            config=BoxOutlineParams,
            build=BoxOutline,
            summary="box and outline on a lattice over it, each vertex one new token",
        ),
        Component(
            name=VqMask.name,
            config=VqMaskParams,
            build=VqMask,
            summary="box and the codes of a learned mask tokenizer, or codes of the whole picture",
        ),
    ]
