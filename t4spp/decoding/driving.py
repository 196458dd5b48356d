"""One model, driven pass by pass over rows of unequal length.

The model prepares its prompt as in its own ``generate``; afterwards every pass carries a mask and
positions that say where each row stands. What a model is able to do is tried on its first batch.

Shapes: B rows, P slots of the prompt, Q tokens a pass, S slots in sight, V columns of logits.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, StaticLayer

from t4spp.decoding.slots import SlotCache

logger = logging.getLogger(__name__)

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Tokens a pass of a static cache, so that few shapes are compiled."""
_READS_MASKS = {"sdpa": False, "eager": True}
"""Attention implementations that take a mask of our own, and whether they add it to the scores."""
_GIVEN_BY_PASS = (
    "attention_mask",
    "position_ids",
    "past_key_values",
    "token_type_ids",
    "mm_token_type_ids",
    "moe_mm_token_type_ids",
    "logits_to_keep",
)
FAULTS = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, NotImplementedError)
"""What a model raises where it is not driven as it wants to be."""


class CannotDriveError(Exception):
    """A model that has to be left to its own ``generate``; the message says why."""


class Driver:
    """A model with the cache of one batch."""

    def __init__(
        self,
        model: Any,
        input_ids: Tensor,
        model_kwargs: dict[str, Any],
        *,
        max_new_tokens: int,
        pad_id: int,
        static: bool = False,
        compiled: bool = False,
    ) -> None:
        """Look whether the model can be driven, and make its cache.

        Args:
            model: as ``generate`` hands it to a ``custom_generate``.
            input_ids: int64[B, P], padded on the left.
            model_kwargs: what ``generate`` has prepared for its passes.
            max_new_tokens: bound on every row's tokens.
            pad_id: fills rows that get fewer tokens than others.
            static: whether the cache's tensors keep one shape.
            compiled: whether passes after the prompt's are compiled; needs a static cache.

        Raises:
            CannotDriveError: the model keeps or wants something that only its ``generate`` knows.
        """
        self._model = model
        self._ids = input_ids
        self._kwargs = dict(model_kwargs)
        self._pad = pad_id
        self._static = static
        self._prepared = self._kwargs.pop("past_key_values", None)
        self._window = _window(self._prepared)
        self._additive = self._reads_additive_masks()
        if _is_sharded(model):
            raise CannotDriveError("its weights are sharded: all processes must make equal passes")
        positions = self._kwargs.get("position_ids")
        if positions is None:
            raise CannotDriveError("its generate prepares no position ids")
        batch, prompt = input_ids.shape
        self.num_prompt = prompt
        self._begins = [prompt] * batch
        """The slot of each row's first token behind its prompt."""
        shape = (*positions.shape[:-2], batch, 1)
        self._next: Tensor = (positions[..., -1:] + 1).expand(shape)
        mask = self._kwargs.get("attention_mask")
        self._visible = None if mask is None or bool(mask.all()) else mask.bool()
        reach = prompt + max_new_tokens
        self._mixed = self._window is not None and self._window[1] and reach > self._window[0]
        fixed = reach + WIDTHS[-1] if static else None
        self._cache = SlotCache(len(self._prepared.layers), fixed=fixed)
        self._call = model
        if compiled:
            from transformers import CompileConfig

            self._call = model.get_compiled_call(CompileConfig(fullgraph=False, mode="default"))

    def _reads_additive_masks(self) -> bool:
        config = self._model.config.get_text_config(decoder=True)
        name = getattr(config, "_attn_implementation", None)
        if name not in _READS_MASKS:
            raise CannotDriveError(f"its attention ({name}) takes no mask of our own")
        return _READS_MASKS[name]

    @property
    def most(self) -> int:
        """Tokens of a row that one pass reads at most."""
        return WIDTHS[-1]

    @property
    def device(self) -> torch.device:
        """Where logits come out."""
        device: torch.device = self._ids.device
        return device

    def prompt(self) -> Tensor:
        """Read the prompt: float[B, V], the logits of each row's first token.

        Raises:
            CannotDriveError: on a model's first batch, where it turns out that the model does
                otherwise than in its ``generate``.
        """
        batch = self._ids.shape[0]
        self._cache.slots.aim([0] * batch, self.num_prompt, self.device)
        inputs = self._model.prepare_inputs_for_generation(
            self._ids, is_first_iteration=True, past_key_values=self._cache, **self._kwargs
        )
        outputs = self._model(**inputs, return_dict=True)
        self._try_out(outputs)
        logits: Tensor = outputs.logits[:, -1]
        return logits

    def keys(self) -> Tensor:
        """float[B, H, P, D]: the last layer's keys of the prompt, which :meth:`prompt` has read."""
        found = self._cache.slot_layers[-1].keys
        assert found is not None
        return found[:, :, : self.num_prompt]

    def step(self, tokens: Sequence[Sequence[int]], starts: Sequence[int]) -> Tensor:
        """Read more tokens: float[B, Q, V], the logits behind each; garbage beyond a row's own.

        Args:
            tokens: of each row; a row may have none, as long as another has some.
            starts: how many of the row's tokens behind its prompt the cache holds that stay;
                negative where the last ones of its prompt are still to be read.
        """
        width = max(map(len, tokens))
        if self._static:
            width = next(size for size in WIDTHS if size >= width)
        ids = torch.tensor([[*row, *[self._pad] * (width - len(row))] for row in tokens])
        slots = self._cache.slots
        begins = [own + start for own, start in zip(self._begins, starts, strict=True)]
        slots.aim(begins, width, self.device)
        offsets = torch.tensor([[s + i for i in range(width)] for s in starts], device=self.device)
        kwargs = {k: v for k, v in self._kwargs.items() if k not in _GIVEN_BY_PASS}
        inputs = self._model.prepare_inputs_for_generation(
            ids.to(self.device),
            is_first_iteration=False,
            past_key_values=self._cache,
            attention_mask=self._mask(begins, width),
            position_ids=self._next + offsets,
            **kwargs,
        )
        logits: Tensor = self._call(**inputs, return_dict=True).logits
        return logits

    def keep(self, rows: Sequence[int]) -> bool:
        """Leave only these rows of the batch, if that is cheap here; whether it was done."""
        if self._static:
            return False
        kept = torch.tensor(list(rows), device=self.device)
        self._cache.keep(rows)
        self._next = self._next.index_select(-2, kept)
        self._ids = self._ids[kept]
        self._visible = None if self._visible is None else self._visible[kept]
        self._begins = [self._begins[row] for row in rows]
        return True

    def spread(self, rows: Sequence[int], shorter: Sequence[int]) -> None:
        """Let rows that have read a prompt stand for others that begin as it does.

        Args:
            rows: for each row from now on, which one it was; in a cache that grows.
            shorter: by how many tokens its own prompt is shorter. What it has not in common with
                the other is to be read by :meth:`step`, over what the cache holds.
        """
        if not self.keep(rows):
            raise ValueError("a static cache cannot be spread")
        fewer = torch.tensor(list(shorter), device=self.device)
        self._next = self._next - fewer[:, None]
        self._begins = [self.num_prompt - less for less in shorter]

    def _mask(self, begins: Sequence[int], width: int) -> Any:
        """What each new token sees: itself and what lies before it, without the prompt's padding.

        bool[B, 1, Q, S], or what must be added to scores; one for each kind of layer where they
        differ; None where a lone token sees everything.
        """
        stop = self._cache.slots.stop
        window = None if self._window is None else self._window[0]
        whole = window is None or stop <= window
        lone = width == 1 and self._visible is None and not self._static
        if lone and whole and len(set(begins)) == 1:
            return None
        own = torch.tensor(list(begins), device=self.device)[:, None]
        own = own + torch.arange(width, device=self.device)
        slot = torch.arange(stop, device=self.device)
        seen = slot <= own[:, :, None]
        if self._visible is not None:
            known = min(self.num_prompt, stop)
            seen[:, :, :known] &= self._visible[:, None, :known]
        if window is None or self._window is None:
            return self._worded(seen)
        near = seen & (slot > own[:, :, None] - window)
        if not self._mixed:
            return self._worded(seen if whole and self._window[1] else near)
        return {
            "full_attention": self._worded(seen),
            "sliding_attention": self._worded(near),
        }

    def _worded(self, seen: Tensor) -> Tensor:
        seen = seen[:, None]
        if not self._additive:
            return seen
        dtype = self._model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return mask.masked_fill(~seen, torch.finfo(dtype).min)

    def _try_out(self, outputs: Any) -> None:
        """Hold two passes against those of ``generate``, once a model and way of driving it."""
        config = self._model.config.get_text_config(decoder=True)
        key = (self._mixed, self._static, getattr(config, "_attn_implementation", ""))
        tried = _TRIED.setdefault(self._model, {})
        if key not in tried:
            try:
                tried[key] = self._trial(outputs)
            except torch.OutOfMemoryError:
                raise
            except FAULTS as error:
                tried[key] = f"a pass of ours fails ({type(error).__name__}: {error})"
        if tried[key]:
            raise CannotDriveError(tried[key])

    def _trial(self, outputs: Any) -> str:
        """Why the model cannot be driven; empty where it can."""
        model, kwargs, ids = self._model, dict(self._kwargs), self._ids
        reference = self._prepared
        for number, layer in enumerate(self._cache.slot_layers):
            if not layer.is_initialized:
                return f"it does not use layer {number} of its cache"
            assert layer.keys is not None
            assert layer.values is not None
            prompt = slice(0, self.num_prompt)
            reference.update(layer.keys[:, :, prompt], layer.values[:, :, prompt], number)
        kwargs["past_key_values"] = reference
        written, expected = [], []
        for _ in range(2):
            token = outputs.logits[:, -1].argmax(dim=-1)[:, None]
            written.append(token)
            ids = torch.cat([ids, token], dim=-1)
            kwargs = model._update_model_kwargs_for_generation(outputs, kwargs)
            kwargs["past_key_values"] = reference
            inputs = model.prepare_inputs_for_generation(ids, next_sequence_length=1, **kwargs)
            outputs = model(**inputs, return_dict=True)
            expected.append(outputs.logits[:, -1])
        tokens = torch.cat(written, dim=-1).tolist()
        batch = len(tokens)
        # First a pass whose later tokens are wrong; every other row gets one token less.
        first = [[row[0], row[0], self._pad][: 3 - place % 2] for place, row in enumerate(tokens)]
        one = self.step(first, [0] * batch)[:, 0]
        # Then rows of unequal length: every other row repeats its first token.
        again = [row[place % 2 :] for place, row in enumerate(tokens)]
        two = self.step(again, [place % 2 for place in range(batch)])
        last = torch.tensor([len(row) - 1 for row in again], device=two.device)
        two = two[torch.arange(batch, device=two.device), last]
        for ours, theirs in zip((one, two), expected, strict=True):
            if not close(ours, theirs):
                return "its passes over several tokens do not give what its generate gives"
        return ""


def close(ours: Tensor, theirs: Tensor) -> bool:
    """Whether logits are the same but for rounding."""
    rough = torch.finfo(theirs.dtype).bits < 32
    spread = (theirs.amax(dim=-1) - theirs.amin(dim=-1)).float()
    apart = (ours - theirs).abs().amax(dim=-1).float()
    return bool((apart <= spread * (0.08 if rough else 1e-3) + 1e-6).all())


def _is_sharded(model: Any) -> bool:
    """Whether each process holds a part of the weights, so that a pass takes all of them."""
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
    from transformers.integrations.fsdp import is_fsdp_managed_module

    zero3: Any = is_deepspeed_zero3_enabled  # untyped
    return bool(zero3() or is_fsdp_managed_module(model))


def _window(prepared: Any) -> tuple[int, bool] | None:
    """The sliding window in tokens and whether other layers see everything; None without one.

    Raises:
        CannotDriveError: a layer keeps something else than keys and values of all tokens, or of
            the last ones.
    """
    layers = getattr(prepared, "layers", None)
    if not layers:
        raise CannotDriveError("its generate prepares no cache of keys and values")
    windows = set()
    for layer in layers:
        if type(layer) is DynamicSlidingWindowLayer:
            windows.add(int(layer.sliding_window))
        elif type(layer) in (DynamicLayer, StaticLayer):
            windows.add(0)
        else:
            raise CannotDriveError(f"its cache has a {type(layer).__name__}")
    slides = windows - {0}
    if not slides:
        return None
    if len(slides) > 1:
        raise CannotDriveError(f"its layers have several sliding windows ({sorted(slides)})")
    return slides.pop(), 0 in windows


_TRIED: WeakKeyDictionary[Any, dict[Any, str]] = WeakKeyDictionary()
"""For each model in use, why it cannot be driven in some way; empty where it can."""
