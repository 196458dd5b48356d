"""A new connector learns words for what it sees, before any language model is run.

A connector of random weights tells the language model nothing, and thousands of answers pass before
it does. But the training masks say what lies under every image token. So the token's embedding is
first drawn towards the embeddings of the words for it, in the shares in which they cover it: the
language model then reads the picture as 16 x 16 words that it knows. This takes the connector and
the tower's features only, a fraction of the work of an answer.

Shapes: B pictures, N image tokens (256), K labels of a batch, background among them, D the width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from t4spp.types import BACKGROUND, BoolMask, Image, Sample
from t4spp_plugins.backbones.smol.configuration import SIDE
from t4spp_plugins.backbones.smol.model import SmolConnector

BATCH_SIZE = 8
"""Pictures a step."""
LEARNING_RATE = 1e-3
SHARPNESS = 20.0
"""What cosines are multiplied by before they become shares."""
_LOUDNESS = 1.0
"""Weight of how far tokens are from being as loud as words."""


NUM_PROBED = 64
"""Samples on either side of a drawn one that may be about its picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What lies under the image tokens of a picture.

    Attributes:
        inside: the share of every token that lies in the picture, float32[N].
        shares: the share that each label covers that somebody asks for, float32[N] each.
    """

    inside: Tensor
    shares: dict[str, Tensor]


def with_masks(samples: Sequence[Sample], generator: torch.Generator) -> Iterator[int]:
    """Places of samples that ask for masks, shuffled anew in every pass; without any it ends."""
    found = True
    while found:
        found = False
        for index in torch.randperm(len(samples), generator=generator).tolist():
            if samples[index].kind != "dialogue":
                found = True
                yield index


def about_one_picture(samples: Sequence[Sample], index: int) -> list[Sample]:
    """A sample and its neighbours about the same picture, in their order, none in words."""
    found = [samples[index]]
    name = found[0].image_id
    if not name:
        return found
    for step in (-1, 1):
        for place in range(index + step, index + step * (NUM_PROBED + 1), step):
            if not 0 <= place < len(samples) or samples[place].image_id != name:
                break
            if samples[place].kind != "dialogue":
                found.insert(0 if step < 0 else len(found), samples[place])
    return found


def truth_of(samples: Sequence[Sample]) -> Truth:
    """The truth of a picture; targets of one label are joined, what is to be ignored is outside."""
    size = samples[0].size
    masks: dict[str, BoolMask] = {}
    scored = np.ones(size, dtype=np.bool_)
    for sample in samples:
        if sample.ignore is not None:
            scored &= ~sample.ignore
        for label in sample.labels:
            masks.setdefault(label, np.zeros(size, dtype=np.bool_))
        for target in sample.targets:
            masks[target.label] = masks.get(target.label, False) | target.mask
    return Truth(
        inside=token_shares(scored),
        shares={label: token_shares(mask & scored) for label, mask in masks.items()},
    )


def token_shares(mask: BoolMask) -> Tensor:
    """The share of every image token that a mask bool[H, W] covers, float32[N].

    The padding of the tower's square is covered by nothing.
    """
    height, width = mask.shape
    longest = max(height, width)
    square = torch.zeros(1, 1, longest, longest)
    square[0, 0, :height, :width] = torch.from_numpy(mask)
    return nn.functional.interpolate(square, size=(SIDE, SIDE), mode="area").flatten()


def align(
    connector: SmolConnector,
    samples: Sequence[Sample],
    *,
    features: Callable[[Image], Tensor],
    word: Callable[[str], Tensor],
    steps: int,
    seed: int,
    progress: Callable[[float], object],
) -> None:
    """Train a connector, in place.

    Args:
        connector: on the CPU or a GPU.
        samples: to learn from; drawn with those about the same picture. Questions in words are left
            out, they say nothing of what lies where; without other samples nothing is learnt.
        features: a picture's, float32[256, 64, 64].
        word: a label's embedding, float32[D].
        steps: of AdamW, :data:`BATCH_SIZE` pictures each; the rate falls to zero along a half
            cosine.
        seed: of the order of pictures.
        progress: told each step's loss.

    Raises:
        RecipeError: a picture is missing or damaged.
    """
    device = next(connector.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(connector.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    drawn = with_masks(samples, generator)
    for _ in range(steps):
        chosen = list(islice(drawn, BATCH_SIZE))
        if len(chosen) < BATCH_SIZE:
            break
        pictures = [about_one_picture(samples, index) for index in chosen]
        seen = torch.stack([features(together[0].image) for together in pictures])
        sizes = torch.tensor([together[0].size for together in pictures])
        tokens = connector(seen.to(device), sizes.to(device))
        loss = word_loss(tokens, [truth_of(together) for together in pictures], word)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        progress(float(loss.detach()))
    optimizer.zero_grad()


def word_loss(
    tokens: Tensor,
    truths: Sequence[Truth],
    word: Callable[[str], Tensor],
) -> Tensor:
    """How far tokens are from the words for what lies under them, a scalar.

    Args:
        tokens: float[B, N, D].
        truths: of the pictures.
        word: a label's embedding, float32[D].
    """
    labels = [BACKGROUND, *sorted({label for truth in truths for label in truth.shares})]
    place = {label: number for number, label in enumerate(labels)}
    words = torch.stack([word(label) for label in labels]).to(tokens.device)
    asked = torch.zeros(len(truths), len(labels), dtype=torch.bool)
    wanted = torch.zeros(*tokens.shape[:2], len(labels))
    inside = torch.stack([truth.inside for truth in truths])
    asked[:, 0] = True
    for row, truth in enumerate(truths):
        for label, share in truth.shares.items():
            asked[row, place[label]] = True
            wanted[row, :, place[label]] = share
    wanted[:, :, 0] = (inside - wanted.sum(dim=2)).clamp(min=0)
    total = wanted.sum(dim=2, keepdim=True).clamp(min=1e-6)
    unit = nn.functional.normalize(words, dim=1)
    logits = SHARPNESS * nn.functional.normalize(tokens, dim=2) @ unit.T
    logits = logits.masked_fill(~asked[:, None].to(tokens.device), -1e4)
    entropy = -(wanted / total).to(tokens.device) * logits.log_softmax(dim=2)
    weights = inside.to(tokens.device)
    loudness = (tokens.norm(dim=2) / words.norm(dim=1).mean() - 1).square()
    told = (entropy.sum(dim=2) * weights).sum() / weights.sum()
    return told + _LOUDNESS * loudness.mean()
