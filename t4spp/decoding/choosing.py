"""Which token a model's logits stand for: the likeliest that is admitted, or a drawn one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t4spp.seeds import seed_from


class Chooser:
    """Chooses tokens, for each place of an answer on its own.

    A drawn token depends on the logits, the row's seed and its place in the answer, and on nothing
    else. A drafted token is kept where it is the one that is drawn, so it is kept with its own
    probability, and what is drawn in its stead follows the rest of the distribution: this is
    speculative sampling (Leviathan et al. 2023, section 2.3) for drafts that are certain of
    themselves. The answers are those that would be drawn token by token.
    """

    def __init__(
        self, *, temperature: float, seed: int, num_rows: int, max_new_tokens: int
    ) -> None:
        """Draw the chances.

        Args:
            temperature: 0 chooses the likeliest.
            seed: of the batch.
            num_rows: of the batch.
            max_new_tokens: bound on every row's tokens.
        """
        self._temperature = temperature
        self._chances: list[Tensor] = []
        if temperature > 0:
            for row in range(num_rows):
                generator = torch.Generator().manual_seed(seed_from(seed, "row", row))
                chances = torch.rand(max_new_tokens, 2, generator=generator, dtype=torch.float64)
                self._chances.append(chances)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn."""
        return self._temperature > 0

    def choose(self, logits: Tensor, row: int, place: int, *, again: bool = False) -> int:
        """The token of one place.

        Args:
            logits: float32[V], minus infinity where a token is not admitted.
            row: of the batch as it began.
            place: tokens that the answer has before it.
            again: whether a first choice there was refused; a draw then falls anew.
        """
        if not self.draws:
            return int(logits.argmax())
        chance = float(self._chances[row][place, int(again)])
        return drawn(logits / self._temperature, chance)


def drawn(logits: Tensor, chance: float) -> int:
    """The token on which ``chance`` in 0..1 falls when all are laid out by probability.

    Args:
        logits: float[V].
        chance: where to look.
    """
    shares = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    found = torch.searchsorted(shares, shares[-1] * chance, right=True)
    return int(found.clamp(max=len(shares) - 1))


def admitted(logits: Tensor, words: npt.NDArray[np.int32] | Tensor) -> Tensor:
    """Logits float[V] with what is not admitted at minus infinity.

    Args:
        logits: of one place.
        words: int32[W], a bit for each token of the vocabulary, the lowest first.
    """
    bits = torch.as_tensor(words, dtype=torch.int32)
    allowed = ((bits[:, None] >> torch.arange(32, dtype=torch.int32)) & 1).flatten().bool()
    spare = logits.shape[0] - allowed.shape[0]
    # Padded embeddings give logits more columns than there are tokens.
    allowed = (
        torch.nn.functional.pad(allowed, (0, spare)) if spare > 0 else allowed[: logits.shape[0]]
    )
    return logits.masked_fill(~allowed.to(logits.device), -torch.inf)
