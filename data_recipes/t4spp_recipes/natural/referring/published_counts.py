"""How much each dataset holds by its publications, and what differs on disk.

Sources: refs and pictures of RefCOCO, RefCOCO+ and RefCOCOg are the table of TensorFlow Datasets'
``ref_coco``; their expressions add up to the totals that Yu et al. (ECCV 2016) and the dataset's
users report: 142,210, 141,564 and 95,010. gRefCOCO's released file holds 259,859 expressions of
the paper's 278,232 (its authors keep the rest for a challenge; their repository's issue 6).
ReasonSeg: LISA's README. PhraseCut: its README, where val counts the hundred pictures of miniv.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a split holds. None: nobody published it."""

    refs: int | None = None
    expressions: int | None = None
    pictures: int | None = None

    def differences(self, found: Counts) -> str:
        """Such as "3 refs instead of 3811, ..."; empty where nothing that is known differs."""
        told = []
        for name, published in vars(self).items():
            here = getattr(found, name)
            if published is not None and here != published:
                told.append(f"{here} {name} instead of {published}")
        return ", ".join(told)


def _refer(refs: int, expressions: int | None, pictures: int) -> Counts:
    return Counts(refs=refs, expressions=expressions, pictures=pictures)


PUBLISHED: Mapping[tuple[str, str], Mapping[str, Counts]] = {
    ("refcoco", "unc"): {
        "train": _refer(42404, 120624, 16994),
        "val": _refer(3811, 10834, 1500),
        "testA": _refer(1975, 5657, 750),
        "testB": _refer(1810, 5095, 750),
    },
    ("refcoco", "google"): {
        "train": _refer(40000, None, 19213),
        "val": _refer(5000, None, 4559),
        "test": _refer(5000, None, 4527),
    },
    ("refcoco+", "unc"): {
        "train": _refer(42278, 120191, 16992),
        "val": _refer(3805, 10758, 1500),
        "testA": _refer(1975, 5726, 750),
        "testB": _refer(1798, 4889, 750),
    },
    ("refcocog", "umd"): {
        "train": _refer(42226, 80512, 21899),
        "val": _refer(2573, 4896, 1300),
        "test": _refer(5023, 9602, 2600),
    },
    ("refcocog", "google"): {
        "train": _refer(44822, 85474, 24698),
        "val": _refer(5000, 9536, 4650),
    },
    ("grefcoco", "unc"): {
        "train": Counts(expressions=209344),
        "val": Counts(expressions=16870),
        "testA": Counts(expressions=18712),
        "testB": Counts(expressions=14933),
    },
    ("reasonseg", ""): {
        "train": Counts(pictures=239),
        "val": Counts(pictures=200),
        "test": Counts(pictures=779),
    },
    ("phrasecut", ""): {
        "train": Counts(expressions=310816, pictures=71746),
        "val_miniv": Counts(expressions=20316, pictures=2971),
        "miniv": Counts(expressions=821, pictures=100),
        "test": Counts(expressions=14354, pictures=2545),
    },
}
"""By (dataset, split author). refCLEF's splits have no published counts that we know of."""


def count_complaints(
    recipe: str, key: tuple[str, str], found: Mapping[str, Counts], where: str
) -> list[str]:
    """One message a split that holds another number than was published, or is not there.

    Args:
        recipe: name, for the messages.
        key: of ``PUBLISHED``; nothing is compared where it is not there.
        found: what the files hold, by split.
        where: the file or folder, for the messages.
    """
    messages = []
    for split, published in PUBLISHED.get(key, {}).items():
        if split not in found:
            told = "is not there"
        else:
            told = published.differences(found[split])
            told = f"has {told}" if told else ""
        if told:
            messages.append(
                f"{recipe}: the split {split} in {where} {told}. Is the download whole? Set "
                "counts=false to read a part of the dataset on purpose."
            )
    return messages
