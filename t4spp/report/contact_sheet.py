"""A sheet of samples to look at: pictures, true masks, prompts, and what a scheme writes.

As one HTML page that asks the network for nothing, or as one PNG.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t4spp.data.conversation import Conversation
from t4spp.errors import SchemeError
from t4spp.report.gallery import data_uri, shrink, shrink_mask
from t4spp.report.overlay import draw_overlay, label_colours
from t4spp.schemes.base import Scheme
from t4spp.types import BACKGROUND, BoolMask, Image, Sample

Pixels = npt.NDArray[np.uint8]
"""uint8[H, W, 3]."""

IGNORED_GREY = 60
GROUND_GREY = 190
"""Stands for a picture that is not asked for."""
PNG_LINES = 7
"""Lines of descriptor that a PNG shows under a sample; the rest is counted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile:
    """One sample, ready to be laid out.

    Attributes:
        id: the sample's.
        prompt: the bare phrase.
        facts: one line: kind, size, number of targets, tags.
        panels: (caption, uint8[h, w, 3]) pictures of one size.
        descriptor: what the scheme writes; None without a scheme, and for a dialogue.
        fault: why the scheme cannot write the sample; empty when it can.
        question: the user's turn as the model sees it; None where nobody asked for it.
        answer: the assistant's whole turn, template and tags included; likewise.
        tokens: (what, number of tokens) of these texts.
        others: further reference answers of a dialogue, which are not learnt.
        context: the turns of a dialogue before this one, as (question, answer).
    """

    id: str
    prompt: str
    facts: str
    panels: tuple[tuple[str, Pixels], ...]
    descriptor: str | None = None
    fault: str = ""
    question: str | None = None
    answer: str | None = None
    tokens: tuple[tuple[str, int], ...] = ()
    others: tuple[str, ...] = ()
    context: tuple[tuple[str, str], ...] = ()


def make_tile(
    sample: Sample,
    scheme: Scheme | None = None,
    *,
    pixels: bool = True,
    asked: Callable[[Sample], tuple[Conversation | None, str]] | None = None,
    count: Callable[[str], int] | None = None,
) -> Tile:
    """Draw one sample.

    Args:
        sample: any sample.
        scheme: also show its descriptor and the masks that it decodes to.
        pixels: False draws the masks on plain grey, for samples without a picture.
        asked: gives the conversation of a sample for training, or None and why there is none.
        count: the tokens of a text.

    Raises:
        RecipeError: the picture is missing or damaged.
    """
    image = sample.image if pixels else np.full((*sample.size, 3), GROUND_GREY, np.uint8)
    truth = [(target.label, target.mask) for target in sample.targets]
    in_words = sample.kind == "dialogue"
    panels = [("picture", shrink(image))] if pixels else []
    if not in_words or not pixels:
        panels.append(("truth", _drawn(image, truth, sample)))
    descriptor, fault = None, ""
    if scheme is not None and not in_words:
        try:
            descriptor = scheme.encode(sample.targets, sample.size, sample.ignore)
        except SchemeError as error:
            fault = str(error)
        else:
            decoded = scheme.decode(descriptor, sample.size, sample.labels or None)
            kept = [(item.label, item.mask) for item in decoded.regions]
            panels.append((f"decoded ({decoded.status})", _drawn(image, kept, sample)))
    facts = [
        sample.kind,
        f"{sample.size[0]} x {sample.size[1]}",
        f"{len(sample.targets)} target{'' if len(sample.targets) == 1 else 's'}"
        if sample.targets
        else f"{len(sample.answers)} reference answers"
        if in_words
        else "no target",
        *sample.tags,
    ]
    if sample.ignore is not None:
        facts.append(f"{sample.ignore.mean():.1%} ignored")
    question = sample.prompt if in_words else None
    answer = sample.answers[0] if in_words and sample.answers else None
    unwritten = ""
    if asked is not None:
        conversation, unwritten = asked(sample)
        if conversation is not None:
            question, answer = conversation.question, conversation.answer
    tokens: list[tuple[str, int]] = []
    if count is not None:
        texts = (("question", question), ("answer", answer), ("descriptor", descriptor))
        tokens = [(what, count(text)) for what, text in texts if text is not None]
    return Tile(
        id=sample.id,
        prompt=sample.prompt,
        facts=", ".join(facts),
        panels=tuple(panels),
        descriptor=descriptor,
        fault=fault or unwritten,
        question=question,
        answer=answer,
        tokens=tuple(tokens),
        others=sample.answers[1:],
        context=sample.context,
    )


def _drawn(image: Image, regions: Sequence[tuple[str, BoolMask]], sample: Sample) -> Pixels:
    small = shrink(image).copy()
    size = (small.shape[0], small.shape[1])
    if sample.ignore is not None:
        # Dark diagonal stripes: not to be taken for a mask.
        rows, columns = np.indices(size)
        small[shrink_mask(sample.ignore, size) & ((rows + columns) % 8 < 4)] = IGNORED_GREY
    colours = label_colours(
        {*sample.labels, *(target.label for target in sample.targets)} - {BACKGROUND}
    )
    named = [(label, shrink_mask(mask, size)) for label, mask in regions if label != BACKGROUND]
    return draw_overlay(small, named, colours=colours)


def sheet_html(tiles: Sequence[Tile], title: str, notes: Sequence[str]) -> str:
    """One page; pictures are data URIs."""
    cards = "\n".join(_card(tile) for tile in tiles)
    listed = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; background: #fff; color: #1a1a1a; }}
h1 {{ font-size: 1.3rem; }} p {{ margin: .2rem 0; color: #444; overflow-wrap: anywhere; }}
main {{ display: flex; flex-wrap: wrap; gap: 1.2rem; margin-top: 1rem; }}
article {{ border: 1px solid #ccc; border-radius: 6px; padding: .7rem; max-width: 62rem; }}
h2 {{ font-size: 1rem; margin: 0 0 .2rem; overflow-wrap: anywhere; max-width: 44rem; }}
.panels {{ display: flex; flex-wrap: wrap; gap: .5rem; margin-top: .5rem; }}
figure {{ margin: 0; }} figcaption {{ font-size: .8rem; color: #555; }}
img {{ display: block; max-width: 100%; }}
pre {{ max-height: 12rem; overflow: auto; background: #f5f5f5; padding: .5rem; font-size: .75rem;
white-space: pre-wrap; overflow-wrap: anywhere; max-width: 60rem; }}
.fault {{ color: #a00; }} .turn {{ font-size: .8rem; color: #555; margin: .6rem 0 0; }}
</style></head><body>
<h1>{html.escape(title)}</h1>{listed}
<main>
{cards}
</main></body></html>
"""


def _card(tile: Tile) -> str:
    panels = "".join(
        f'<figure><img src="{data_uri(picture)}" alt="{html.escape(f"{caption}: {tile.prompt}")}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, picture in tile.panels
    )
    text = "" if tile.descriptor is None else f"<pre>{html.escape(tile.descriptor)}</pre>"
    if tile.question is not None:
        text = _turns(tile)
    fault = f'<p class="fault">{html.escape(tile.fault)}</p>' if tile.fault else ""
    return (
        f"<article><h2>{html.escape(tile.prompt)}</h2>"
        f"<p>{html.escape(tile.id)} · {html.escape(tile.facts)}</p>"
        f'<div class="panels">{panels}</div>{fault}{text}</article>'
    )


def _turns(tile: Tile) -> str:
    """The conversation, each text with its tokens."""
    numbers = dict(tile.tokens)

    def counted(what: str) -> str:
        return f" · {numbers[what]} tokens" if what in numbers else ""

    inside = f", {numbers['descriptor']} of the descriptor" if "descriptor" in numbers else ""
    asked = html.escape(tile.question or "")
    turns = "".join(
        f'<p class="turn">Before it</p><pre>{html.escape(question)}\n{html.escape(answer)}</pre>'
        for question, answer in tile.context
    )
    turns += f'<p class="turn">User{counted("question")}</p><pre>{asked}</pre>'
    if tile.answer is not None:
        turns += (
            f'<p class="turn">Assistant{counted("answer")}{inside}</p>'
            f"<pre>{html.escape(tile.answer)}</pre>"
        )
    if tile.others:
        said = " · ".join(html.escape(other) for other in tile.others)
        turns += f'<p class="turn">Other reference answers</p><p>{said}</p>'
    return turns


def sheet_png(tiles: Sequence[Tile], title: str, notes: Sequence[str]) -> Pixels:
    """One picture, uint8[H, W, 3]: samples in columns, text under each."""
    from PIL import Image as PilImage
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(size=13)
    num_panels = max(len(tile.panels) for tile in tiles)
    columns = max(1, min(len(tiles), 4 // num_panels + 1))
    gap, line = 12, 17
    width = max(sum(picture.shape[1] + 6 for _, picture in tile.panels) for tile in tiles)
    chars = max(20, int(width / 7.2))
    texts = [_lines(tile, chars) for tile in tiles]
    cells = [
        max(picture.shape[0] for _, picture in tile.panels) + 8 + line * (len(text) + 1)
        for tile, text in zip(tiles, texts, strict=True)
    ]
    rows = [max(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    full_width = columns * (width + gap) + gap
    heading = [title, *notes]
    head = [part for text in heading for part in textwrap.wrap(text, int(full_width / 7.2))]
    full_height = gap + line * (len(head) + 1) + sum(rows) + gap * len(rows)
    canvas = PilImage.new("RGB", (full_width, full_height), "white")
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(head):
        draw.text((gap, gap + number * line), text, fill="black", font=font)
    top = gap + line * (len(head) + 1)
    for row, height in enumerate(rows):
        for column in range(columns):
            index = row * columns + column
            if index >= len(tiles):
                break
            left = gap + column * (width + gap)
            x, bottom = left, 0
            for caption, picture in tiles[index].panels:
                canvas.paste(PilImage.fromarray(picture), (x, top))
                draw.text((x, top + picture.shape[0] + 2), caption, fill="#666666", font=font)
                x += picture.shape[1] + 6
                bottom = max(bottom, picture.shape[0])
            for number, text in enumerate(texts[index]):
                y = top + bottom + 4 + line * (number + 1)
                draw.text((left, y), text, fill="black", font=font)
        top += height + gap
    return np.asarray(canvas)


def _lines(tile: Tile, chars: int) -> list[str]:
    lines = [
        *textwrap.wrap(tile.prompt, chars, max_lines=3, placeholder=" ..."),
        *textwrap.wrap(f"{tile.id}: {tile.facts}", chars, max_lines=2, placeholder=" ..."),
        *textwrap.wrap(tile.fault, chars, max_lines=3, placeholder=" ..."),
    ]
    if tile.question is not None:
        lines += textwrap.wrap(f"User: {tile.question}", chars, max_lines=3, placeholder=" ...")
    text = tile.answer if tile.answer is not None else tile.descriptor or ""
    written = [part for row in text.splitlines() for part in textwrap.wrap(row, chars)]
    if tile.tokens:
        told = ", ".join(f"{what} {number}" for what, number in tile.tokens)
        lines.append(f"tokens: {told}")
    lines += written[:PNG_LINES]
    if len(written) > PNG_LINES:
        lines.append(f"... and {len(written) - PNG_LINES} lines more")
    return lines
