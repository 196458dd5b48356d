"""A tokenizer that has learnt a scheme's tokens, and free text that names no control token."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

from t4spp.errors import BackboneError

CUT = "\ue000\ue0d7\ue001"
"""Stands inside the name of a control token in free text, so that it is plain text; a token of its
own in the processor's copy of the tokenizer, whose ids are taken out again."""


def control_tokens(processor: Any, scheme_tokens: Sequence[str]) -> tuple[str, ...]:
    """The tokens that are more than text: ends of turns, pictures, boxes; longest first.

    Args:
        processor: of the checkpoint.
        scheme_tokens: not among them, also where the checkpoint knows them: it may have been
            trained on the scheme and exported.

    Raises:
        BackboneError: the checkpoint uses one of ``scheme_tokens`` for itself.
    """
    tokenizer = processor.tokenizer
    used = {str(token) for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
    for holder in (processor, tokenizer):
        for name in ("image_token", "video_token", "boi_token", "eoi_token"):
            token = getattr(holder, name, None)
            if isinstance(token, str) and token:
                used.add(token)
    template = str(getattr(processor, "chat_template", None) or "")
    clash = [token for token in scheme_tokens if token in used or token in template]
    if clash:
        raise BackboneError(
            f"hf-vlm: the scheme's token {clash[0]} is a control token of this checkpoint. Give "
            "the scheme's token another name."
        )
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    found = used | (special - set(scheme_tokens))
    return tuple(sorted(found, key=lambda token: (-len(token), token)))


def learn(tokenizer: Any, scheme_tokens: Sequence[str]) -> list[str]:
    """Teach a tokenizer a scheme's tokens, in order; returns those that are new to it.

    Raises:
        BackboneError: the tokenizer does not give text back.
    """
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    new = [token for token in scheme_tokens if token not in known]
    if new:
        made = [AddedToken(token, normalized=False, special=True) for token in new]
        tokenizer.add_tokens(made, special_tokens=True)
    _keep_blanks(tokenizer, scheme_tokens)
    return new


def _keep_blanks(tokenizer: Any, scheme_tokens: Sequence[str]) -> None:
    """Mend a tokenizer that puts a blank behind every added token, and so never gives text back.

    Llama's older tokenizers do: they prepend a blank to every piece between added tokens, of which
    decoding strips the text's first alone.

    Raises:
        BackboneError: text is not given back, for another reason.
    """
    if not scheme_tokens or _gives_back(tokenizer, scheme_tokens[0]):
        return
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if _prepends(state):
        state["normalizer"] = None
        state["pre_tokenizer"] = {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "first",
            "split": False,
        }
        backend = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
        tokenizer._tokenizer = backend
    if not _gives_back(tokenizer, scheme_tokens[0]):
        raise BackboneError(
            "hf-vlm: this checkpoint's tokenizer does not give a descriptor back from its ids "
            f"(words around {scheme_tokens[0]} change), so a model could not be taught to write "
            "it. Use a scheme of plain text, or another checkpoint."
        )


def _gives_back(tokenizer: Any, token: str) -> bool:
    text = f"a dog{token}{token}a cat{token}</seg>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return bool(decoded(tokenizer, ids) == text)


def _prepends(state: dict[str, Any]) -> bool:
    """Whether a tokenizer prepends a blank to every piece, and does nothing else to text."""
    normalizer, pieces = state.get("normalizer") or {}, state.get("pre_tokenizer") or {}
    if normalizer.get("type") == "Sequence":
        kinds = [step.get("type") for step in normalizer.get("normalizers", [])]
        return kinds == ["Prepend", "Replace"] and not pieces
    return not normalizer and (
        pieces.get("type") == "Metaspace" and pieces.get("prepend_scheme") == "always"
    )


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of ids, nothing left out and nothing tidied."""
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


class FreeText:
    """Questions and answers as token ids, behind a prompt; the names of control tokens are text."""

    def __init__(self, tokenizer: Any, control: Sequence[str]) -> None:
        """Keep a copy of the tokenizer, which learns ``CUT``.

        Args:
            tokenizer: has learnt the scheme's tokens; left as it is.
            control: names that free text may not use.
        """
        from tokenizers import AddedToken

        self.tokenizer: Any = copy.deepcopy(tokenizer)
        mark = AddedToken(CUT, normalized=False, special=True)
        self.tokenizer.add_tokens([mark], special_tokens=True)
        self.cut_id = int(self.tokenizer.convert_tokens_to_ids(CUT))
        self._plain = tokenizer
        names = "|".join(map(re.escape, (*control, CUT)))
        self._starts = re.compile(f"(?=(?:{names}))")

    def guarded(self, text: str) -> str:
        """``text`` with ``CUT`` inside the names of control tokens."""
        cuts = [found.start() + 1 for found in self._starts.finditer(text)]
        pieces = zip([0, *cuts], [*cuts, len(text)], strict=True)
        return CUT.join(text[start:stop] for start, stop in pieces)

    def answer(self, text: str, tail: str, joint: str) -> list[int]:
        """The ids of an answer, as they follow the end of a prompt.

        Args:
            text: the answer.
            tail: the end of the prompt; its ids are left out.
            joint: what stands between.

        Raises:
            BackboneError: the tokenizer does not give the answer back.
        """
        guarded = self.guarded(text)
        before = self._ids(tail)
        whole = self._ids(tail + joint + guarded)
        if whole[: len(before)] != before:
            # The tokenizer would join the prompt's end with the answer's beginning. Prompts are
            # given to the model as they are, so the answer stands apart.
            whole = self._ids(tail + CUT + joint + guarded)
        if whole[: len(before)] != before:
            raise BackboneError(f"hf-vlm: the tokenizer reads {tail!r} another way before {text!r}")
        ids = whole[len(before) :]
        if guarded != text and decoded(self._plain, ids).removeprefix(joint) != text:
            raise BackboneError(
                f"hf-vlm: the answer {text!r} names a control token of this checkpoint, and its "
                "tokenizer does not give it back as text. Change the label."
            )
        return ids

    def _ids(self, text: str) -> list[int]:
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [int(i) for i in ids if i != self.cut_id]
