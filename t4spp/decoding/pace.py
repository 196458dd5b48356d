"""How many tokens to draft: what a longer pass costs here, against how far drafts hold.

Neither changes what is written; both are measured while it is written.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

LONGEST = 512
"""Tokens that are drafted for a row in one pass, at most."""
_STARTS = np.array([0, *(1 << power for power in range(9))])
_LENGTHS = np.diff([*_STARTS, LONGEST])
"""Places of a draft that are counted together: 0, 1, 2 to 3, 4 to 7, ..."""
_FADING = 0.98
"""Weight of what is known when a new pass or draft comes to be known."""
_HOLDS = 0.95
"""Share of drafted tokens that hold, before any was tried."""
_SETTLED = 4
"""Passes for which a limit is kept."""
_PRIOR_PASSES = 2.0
_PRIOR_DRAFTS = 2.0
_DEAREST = 1 / 16
"""Share of a pass's fixed cost that another token costs, before any pass was timed."""


class Pace:
    """The best length of drafts for one model on one device.

    A pass takes ``fixed + each * tokens`` seconds, padded tokens of all rows counted, fitted by
    least squares in which older passes fade. A draft's token ``k`` holds in a share of the drafts
    that were as long, counted likewise.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._sums: NDArray[np.float64] = np.zeros(5)  # weight, x, y, xx, xy
        self._tried = np.full(LONGEST, 0.0)
        self._kept = np.full(LONGEST, 0.0)
        self._limits: dict[int, tuple[int, int]] = {}  # of so many rows: limit, passes left

    @classmethod
    def of(cls, model: Any) -> Pace:
        """What is known about a model, kept while it is in use."""
        return _PACES.setdefault(model, cls())

    def passed(self, tokens: int, seconds: float) -> None:
        """A pass over ``tokens`` new tokens, padding counted, of all rows took so long."""
        entry = np.array([1.0, tokens, seconds, tokens * tokens, tokens * seconds])
        self._sums = _FADING * self._sums + entry

    def drafted(self, tokens: int, kept: int) -> None:
        """Of a row's ``tokens`` drafted ones, the first ``kept`` held."""
        tokens, kept = min(tokens, LONGEST), min(kept, LONGEST)
        reached = min(tokens, kept + 1)
        self._tried[:reached] = _FADING * self._tried[:reached] + 1
        self._kept[:reached] *= _FADING
        self._kept[:kept] += 1

    def cost(self) -> tuple[float, float]:
        """Seconds of a pass without any token, and of each token."""
        weight, x, y, xx, xy = self._sums
        if weight == 0:
            return 1.0, _DEAREST
        mean = y / weight
        # A pass with no token costs nearly one with a token; the prior only settles the slope.
        slope = mean * _DEAREST / (1 + _DEAREST)
        spread = xx - x * x / weight + _PRIOR_PASSES
        each = (xy - x * y / weight + _PRIOR_PASSES * slope) / spread
        each = float(np.clip(each, mean * 1e-4, mean))
        return max(float(mean - each * x / weight), mean * 0.05), each

    def expected(self) -> NDArray[np.float64]:
        """float64[LONGEST]: how many tokens of a draft of 1, 2, ... tokens are to be kept."""
        tried = np.add.reduceat(self._tried, _STARTS)
        kept = np.add.reduceat(self._kept, _STARTS)
        holds, share = np.empty(len(_STARTS)), _HOLDS
        for number in range(len(_STARTS)):  # what was never tried is like what comes before it
            share = (kept[number] + _PRIOR_DRAFTS * share) / (tried[number] + _PRIOR_DRAFTS)
            holds[number] = share
        return np.cumsum(np.cumprod(np.repeat(holds, _LENGTHS)))

    def limit(self, rows: int = 1) -> int:
        """Tokens to draft for a row: the most tokens a second, as of the last few passes."""
        limit, left = self._limits.get(rows, (0, 0))
        if left:
            self._limits[rows] = (limit, left - 1)
            return limit
        fixed, each = self.cost()
        gains = np.concatenate([[1.0], 1.0 + self.expected()])
        seconds = fixed + each * rows * np.arange(1, LONGEST + 2)
        # One at least, so that what is known of drafts does not grow old.
        limit = max(1, int(np.argmax(gains / seconds)))
        self._limits[rows] = (limit, _SETTLED)
        return limit


_PACES: WeakKeyDictionary[Any, Pace] = WeakKeyDictionary()
"""One a model in use."""
