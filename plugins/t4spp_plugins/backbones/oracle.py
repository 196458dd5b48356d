"""The backbone that knows the truth: the whole pipeline in seconds, with a known score."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from t4spp.components import Backbone
from t4spp.data.conversations import wrap
from t4spp.data.templates import answer_opening
from t4spp.errors import BackboneError, SchemeError
from t4spp.schemes.base import Scheme
from t4spp.types import UNKNOWN_TRUTH, BoolMask, Sample, Target
from t4spp_plugins.backbones.oracle_config import OracleConfig

logger = logging.getLogger(__name__)

_DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


class Oracle(Backbone):
    """Writes each sample's targets by the scheme, corrupted as its parameters say.

    Without corruption its score is the scheme's ceiling. Every sample is corrupted by a generator
    of its own, seeded by ``seed`` and the sample's id, so order and sharding change nothing.

    Attributes:
        counters: ``answers``, ``dropped`` targets, ``damaged`` and ``unanswered`` answers, and
            ``unwritable`` ones, which the scheme could not write.
    """

    def __init__(self, config: OracleConfig) -> None:
        """Keep the corruption's parameters."""
        self.config = config
        self.counters: Counter[str] = Counter()

    def load(self, scheme_tokens: Sequence[str]) -> None:
        """Load the tokenizer, where one was asked for; there is no model."""
        folder = self.config.tokenizer
        if folder is None:
            return
        if not Path(folder).is_dir():
            raise BackboneError(
                f"backbone.params.tokenizer: {folder} is no folder. Name a folder with "
                "tokenizer.json, or null to leave tokens uncounted."
            )
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        self.tokenizer.add_tokens(list(scheme_tokens))

    def fingerprint(self) -> str:
        """``oracle:`` and a hash of the parameters."""
        params = json.dumps(self.config.model_dump(mode="json"), sort_keys=True)
        return f"oracle:{hashlib.sha256(params.encode()).hexdigest()[:16]}"

    def answer(self, samples: Sequence[Sample], scheme: Scheme) -> list[str]:
        """The truth of each sample as an answer, corrupted.

        Raises:
            BackboneError: a sample's truth is unknown (``t4spp predict`` on a photograph, or on
                a scene without ``--truth``).
        """
        return [self._answer(sample, scheme) for sample in samples]

    def _answer(self, sample: Sample, scheme: Scheme) -> str:
        if UNKNOWN_TRUTH in sample.tags and sample.geo is not None:
            raise BackboneError(
                "the backbone 'oracle' answers from the truth, and none is given for this scene. "
                "Give a vector layer of what is there by --truth FILE, or predict with a run whose "
                "backbone has a model, for example nano."
            )
        if UNKNOWN_TRUTH in sample.tags:
            raise BackboneError(
                "the backbone 'oracle' answers from the truth, and a photograph has none. Predict "
                "with a run whose backbone has a model, for example nano."
            )
        rng = self._generator(sample)
        self.counters["answers"] += 1
        if sample.kind == "dialogue":
            return sample.answers[0] if sample.answers else ""
        opening = answer_opening(sample, "fixed", seed=0, epoch=0)
        if rng.random() < self.config.no_answer_share:
            self.counters["unanswered"] += 1
            return opening
        try:
            descriptor = scheme.encode(self._corrupt(sample, rng), sample.size, sample.ignore)
        except SchemeError as error:
            self.counters["unwritable"] += 1
            logger.warning(
                "the oracle cannot write sample %r and leaves it unanswered: %s", sample.id, error
            )
            return opening
        if rng.random() < self.config.damage_share:
            self.counters["damaged"] += 1
            descriptor = self._damage(descriptor, scheme, rng)
        return wrap(opening, descriptor)

    def _generator(self, sample: Sample) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.config.seed}:{sample.id}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def _corrupt(self, sample: Sample, rng: np.random.Generator) -> list[Target]:
        direction = _DIRECTIONS[int(rng.integers(len(_DIRECTIONS)))]
        dropped = rng.random(len(sample.targets)) < self.config.drop_share
        self.counters["dropped"] += int(dropped.sum())
        kept: list[Target] = []
        for target, drop in zip(sample.targets, dropped, strict=True):
            if drop:
                continue
            if not self.config.shift_pixels and not self.config.erode_pixels:
                kept.append(target)
                continue
            step = self.config.shift_pixels
            mask = _shifted(target.mask, direction[0] * step, direction[1] * step)
            mask = _eroded(mask, self.config.erode_pixels)
            if mask.any():
                kept.append(Target(label=target.label, mask=mask))
        return kept

    def _damage(self, descriptor: str, scheme: Scheme, rng: np.random.Generator) -> str:
        pieces = _pieces(descriptor, scheme)
        for _ in range(self.config.damage_edits):
            if not pieces:
                break
            kinds = self.config.damage_kinds
            kind = kinds[int(rng.integers(len(kinds)))]
            place = int(rng.integers(len(pieces)))
            if kind == "delete":
                del pieces[place]
            elif kind == "duplicate":
                pieces.insert(place, pieces[place])
            else:
                pieces[place] = pieces[int(rng.integers(len(pieces)))]
        return "".join(pieces)


def _pieces(descriptor: str, scheme: Scheme) -> list[str]:
    """The descriptor cut into the scheme's tokens and single characters."""
    if not scheme.special_tokens:
        return list(descriptor)
    longest_first = sorted(scheme.special_tokens, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return re.findall(f"{pattern}|.", descriptor, re.DOTALL)


def _shifted(mask: BoolMask, rows: int, columns: int) -> BoolMask:
    """bool[H, W] moved by rows and columns; what leaves the picture is lost."""
    height, width = mask.shape
    moved = np.zeros_like(mask)
    if abs(rows) >= height or abs(columns) >= width:
        return moved
    to_rows = slice(max(rows, 0), height + min(rows, 0))
    to_columns = slice(max(columns, 0), width + min(columns, 0))
    from_rows = slice(max(-rows, 0), height + min(-rows, 0))
    from_columns = slice(max(-columns, 0), width + min(-columns, 0))
    moved[to_rows, to_columns] = mask[from_rows, from_columns]
    return moved


def _eroded(mask: BoolMask, pixels: int) -> BoolMask:
    """bool[H, W] shrunk by ``pixels``, grown where negative; the border does not erode."""
    if pixels == 0:
        return mask
    from scipy import ndimage

    if pixels > 0:
        result = ndimage.binary_erosion(mask, iterations=pixels, border_value=1)
    else:
        result = ndimage.binary_dilation(mask, iterations=-pixels)
    return np.asarray(result, dtype=np.bool_)
