"""Comparing answers in words with references: VQA's normalisation and accuracy, POPE's yes or no.

Sources: Antol et al., VQA: Visual Question Answering, 2015, section 3, with its evaluation code,
which averages over all subsets that leave one reference out; Li et al., Evaluating Object
Hallucination in Large Vision-Language Models (POPE), 2023; Rajpurkar et al., SQuAD, 2016, for the
overlap of words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

NUM_REFERENCES = 10
"""People who were asked each question of VQA."""
NUM_AGREEING = 3
"""References that an answer must agree with to be right altogether."""

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_NEGATED = (
    "ai are could did does do had has have is might must need ought sha should was were would"
)
_CONTRACTED = (
    "can't won't couldn't've hadn't've mightn't've shouldn't've wouldn't've "
    "could've might've must've not've should've what've where've who've would've we've you've "
    "they've he'd how'd it'd somebody'd someone'd something'd there'd they'd where'd who'd you'd "
    "he'd've it'd've she'd've someone'd've something'd've there'd've they'd've we'd've who'd've "
    "y'all'd've you'd've somebody'd've "
    "he's how's somebody's someone's that's there's what's when's where's who's why's "
    "how'll it'll somebody'll someone'll something'll they'll what'll who'll why'll you'll "
    "y'all'll there're they're what're why're you're ma'am o'clock 'twas y'all"
)


def _contractions() -> Iterator[tuple[str, str]]:
    """Forms that lack an apostrophe, with what VQA's evaluation takes them for."""
    negated = (f"{stem}n't" for stem in _NEGATED.split())
    for whole in (*negated, *_CONTRACTED.split()):
        places = [place for place, sign in enumerate(whole) if sign == "'"]
        for place in places:  # of several, forms that lack one
            yield whole[:place] + whole[place + 1 :], whole


_CONTRACTIONS = dict(_contractions())


def normalised(text: str) -> str:
    """An answer as VQA's evaluation compares it.

    Signs become blanks, or nothing where one stands beside a blank or a comma stands in a number;
    full stops go but in numbers; letters are small; number words up to ten become digits; articles
    go; contractions get their apostrophe.
    """
    text = text.replace("\n", " ").replace("\t", " ").strip()
    plain = text
    in_number = _COMMA_IN_NUMBER.search(text) is not None
    for sign in _PUNCTUATION:
        beside_blank = f"{sign} " in text or f" {sign}" in text
        plain = plain.replace(sign, "" if beside_blank or in_number else " ")
    plain = _FULL_STOP.sub("", plain)
    words = (_NUMBERS.get(word, word) for word in plain.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def soft_accuracy(answer: str, references: Sequence[str]) -> float:
    """VQA's accuracy, 0..1: min(agreeing / 3, 1), averaged over subsets without one reference.

    With ten references this is the official value. With fewer, an answer must agree with all of a
    subset that has fewer than three; with one, it must agree with that.

    Args:
        answer: normalised as the references are.
        references: at least one.
    """
    number, agreeing = len(references), sum(other == answer for other in references)
    if number == 1:
        return float(agreeing)
    enough = min(NUM_AGREEING, number - 1)
    without_one_of_them = min((agreeing - 1) / enough, 1.0) if agreeing else 0.0
    without_another = min(agreeing / enough, 1.0)
    return (agreeing * without_one_of_them + (number - agreeing) * without_another) / number


def official_accuracy(answer: str, references: Sequence[str]) -> float:
    """The same as the official code has it: nothing is normalised where all references are alike.

    So ``Yes`` is wrong where ten people wrote ``yes``.

    Args:
        answer: raw.
        references: raw, at least one.
    """
    answer, *others = (
        text.replace("\n", " ").replace("\t", " ").strip() for text in (answer, *references)
    )
    if len(set(others)) > 1:
        answer, others = normalised(answer), [normalised(other) for other in others]
    return soft_accuracy(answer, others)


def word_overlap(answer: str, references: Sequence[str]) -> float:
    """The best F1, 0..1, of an answer's words with those of a reference, repeats counted.

    Args:
        answer: normalised.
        references: likewise, at least one.
    """
    return max(_overlap(answer.split(), other.split()) for other in references)


def _overlap(answer: Sequence[str], reference: Sequence[str]) -> float:
    if not answer or not reference:
        return float(answer == reference)
    shared = (Counter(answer) & Counter(reference)).total()
    return 2 * shared / (len(answer) + len(reference))


def says_yes(text: str) -> bool | None:
    """An answer as POPE reads it: no where its first sentence has *no* or *not*, else yes.

    POPE's code knows ``No``, ``no`` and ``not``, and takes an empty answer for yes; here case does
    not matter, and an empty answer is neither (None).
    """
    if not text.strip():
        return None
    words = text.partition(".")[0].replace(",", "").casefold().split()
    return not {"no", "not"} & set(words)


def says_either(text: str) -> bool:
    """Whether an answer's first sentence has *yes*, *no* or *not* at all."""
    words = re.findall(r"\w+", text.partition(".")[0].casefold())
    return bool({"yes", "no", "not"} & set(words))
