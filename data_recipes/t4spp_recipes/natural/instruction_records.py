"""Reading conversations about pictures: LLaVA's JSON, question and answers, VQAv2, POPE."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t4spp.errors import RecipeError
from t4spp_recipes.natural.instruction_config import INSTRUCTION_SOURCES, Layout

IMAGE_MARK = "<image>"
"""Where the picture stands in a turn of LLaVA's; a turn is asked without it."""
_ASKS = ("human", "user")
_ANSWERS = ("gpt", "assistant", "model")

KNOWN_COUNTS: Mapping[str, int] = {
    "llava_v1_5_mix665k.json": 665298,
    "v2_mscoco_train2014_annotations.json": 443757,
    "v2_mscoco_val2014_annotations.json": 214354,
    "coco_pope_random.json": 3000,
    "coco_pope_popular.json": 3000,
    "coco_pope_adversarial.json": 3000,
}
"""Records of files as they are distributed."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question.

    Attributes:
        question: without the mark of the picture.
        answers: references, at least one; the first is learnt.
    """

    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Talk:
    """One record: a conversation about one picture.

    Attributes:
        id: the record's own, or its number in the file.
        image: the picture's name, with or without folders, or twelve digits of COCO's.
        turns: at least one.
        tags: of its samples.
    """

    id: str
    image: str
    turns: tuple[Turn, ...]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TalkFile:
    """What a file holds.

    Attributes:
        path: of the file.
        num_records: in it, those left out among them.
        talks: that can be asked.
        counters: what was left out or changed.
    """

    path: Path
    num_records: int
    talks: tuple[Talk, ...]
    counters: Counter[str]


def read_talks(path: Path, layout: str, questions: Path | None) -> TalkFile:
    """Read a file of any of the layouts.

    Args:
        path: JSON, or JSON lines; the answers of VQAv2.
        layout: ``auto`` or one of :data:`Layout`.
        questions: of VQAv2.

    Raises:
        RecipeError: a file is missing or malformed, or nothing in it can be asked.
    """
    path = path.expanduser()
    content = _read_json(path)
    records = _records(path, content, questions)
    chosen = _layout_of(path, records, questions) if layout == "auto" else layout
    num_records = len(records)
    counters: Counter[str] = Counter()
    read = _READERS[chosen]
    if chosen == "vqav2":
        assert questions is not None
        records = _with_questions(records, questions.expanduser(), path, counters)
    talks = []
    for number, record in enumerate(records):
        talk = read(record, f"{path}: record {number}", counters)
        if talk is not None:
            talks.append(talk if talk.id else _numbered(talk, number))
    if not talks:
        raise RecipeError(
            f"{path}: none of its {len(records)} records is a question about one picture with an "
            f"answer, read as {chosen} ({dict(+counters)}). Is it the right file? The layouts are "
            f"{', '.join(_READERS)}; name one as layout."
        )
    return TalkFile(path=path, num_records=num_records, talks=tuple(talks), counters=+counters)


def _numbered(talk: Talk, number: int) -> Talk:
    return Talk(id=str(number), image=talk.image, turns=talk.turns, tags=talk.tags)


def _read_json(path: Path) -> Any:
    """A file's value; of JSON lines a list."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RecipeError(
            f"visual-instructions: {path} {what}. Name a JSON file of conversations, for example "
            "llava_v1_5_mix665k.json. Where to get them:\n"
            + "\n".join(f"  {one.url} ({one.licence}): {one.note}" for one in INSTRUCTION_SOURCES)
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as text: {error}. Fetch it again.") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise RecipeError(
                f"{path}:{error.lineno}: not JSON ({error.msg}). Is the file complete?"
            ) from error
    values = []
    # Not splitlines: texts may hold U+2028 and its like, which end no line of JSON.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise RecipeError(
                    f"{path}:{number}: neither JSON nor JSON lines ({error.msg}). Is the file "
                    "complete?"
                ) from error
    return values


def _records(path: Path, content: Any, questions: Path | None) -> list[dict[str, Any]]:
    """The list of records in a file's value."""
    if isinstance(content, dict):
        if "questions" in content and "annotations" not in content:
            raise RecipeError(
                f"{path} holds VQAv2's questions, without answers. Give it as 'questions', and "
                "the file of annotations as 'annotations'."
            )
        if "annotations" in content and questions is None:
            raise RecipeError(
                f"{path} holds VQAv2's annotations, without the questions' words. Give the file of "
                "questions as 'questions', v2_OpenEnded_mscoco_*_questions.json."
            )
        listed = next((content[key] for key in ("annotations", "data") if key in content), None)
        content = [content] if listed is None else listed
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise RecipeError(
            f"{path}: expected a list of records, one mapping each, received {str(content)[:60]!r}."
        )
    if not content:
        raise RecipeError(f"{path} holds no record.")
    return content


def _layout_of(path: Path, records: Sequence[Mapping[str, Any]], questions: Path | None) -> Layout:
    first = records[0]
    if questions is not None:
        return "vqav2"
    if "conversations" in first:
        return "llava"
    if "text" in first and "label" in first:
        return "pope"
    if "question" in first and ("answer" in first or "answers" in first):
        return "qa"
    raise RecipeError(
        f"{path}: the layout cannot be told by the keys {', '.join(map(str, first))}. Records have "
        "'image' with 'conversations' (LLaVA), 'question' and 'answer' or 'answers', or 'text' and "
        "'label' (POPE)."
    )


def _with_questions(
    records: Sequence[dict[str, Any]], path: Path, annotations: Path, counters: Counter[str]
) -> list[dict[str, Any]]:
    """VQAv2's annotations, each with its question's words."""
    content = _read_json(path)
    listed = content.get("questions") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise RecipeError(
            f"{path}: expected VQAv2's questions, a mapping with the list 'questions', received "
            f"{str(content)[:60]!r}."
        )
    for where, items in ((path, listed), (annotations, records)):
        for number, item in enumerate(items):
            key = item.get("question_id") if isinstance(item, dict) else None
            if not isinstance(key, int | str):
                raise RecipeError(
                    f"{where}: record {number} needs a question_id, a number or a text, and is "
                    f"{str(item)[:60]!r}."
                )
    words = {item["question_id"]: item for item in listed}
    found = [
        {**record, "question": words[record["question_id"]].get("question")}
        for record in records
        if record.get("question_id") in words
    ]
    counters["annotations_without_question"] = len(records) - len(found)
    counters["questions_without_annotation"] = len(words) - len(found)
    if not found:
        raise RecipeError(
            f"{path} and {annotations} have no question_id in common. Do they belong together?"
        )
    return found


def _llava(record: Mapping[str, Any], where: str, counters: Counter[str]) -> Talk | None:
    image = _image_of(record, where, counters)
    if image is None:
        return None
    said = record.get("conversations")
    if not isinstance(said, list):
        raise RecipeError(f"{where}: 'conversations' is no list of turns: {str(said)[:60]!r}.")
    turns = list(_turns(said, where, counters))
    if sum(text.count(IMAGE_MARK) for _, text in _spoken(said, where)) > 1:
        counters["records_of_several_pictures"] += 1
        return None
    if not turns:
        counters["records_without_a_turn"] += 1
        return None
    return Talk(id=str(record.get("id", "")), image=image, turns=tuple(turns))


def _spoken(said: Sequence[Any], where: str) -> Iterator[tuple[str, str]]:
    """(who, what) of each turn."""
    for number, turn in enumerate(said):
        who = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
        what = turn.get("value", turn.get("content")) if isinstance(turn, dict) else None
        if not isinstance(who, str) or not isinstance(what, str):
            raise RecipeError(
                f"{where}: conversations[{number}] needs 'from' and 'value', both text, and is "
                f"{str(turn)[:60]!r}."
            )
        yield who, what


def _turns(said: Sequence[Any], where: str, counters: Counter[str]) -> Iterator[Turn]:
    """Questions with their answers; what has no counterpart is counted and left out."""
    asked: str | None = None
    for who, what in _spoken(said, where):
        text = what.replace(IMAGE_MARK, "").strip()
        if who in _ASKS:
            counters["questions_without_answer"] += asked is not None
            asked = text
        elif who in _ANSWERS:
            if asked is None:
                counters["answers_without_question"] += 1
            elif not asked or not text:
                counters["empty_turns"] += 1
            else:
                yield Turn(question=asked, answers=(text,))
            asked = None
        else:
            counters["turns_of_others"] += 1
    counters["questions_without_answer"] += asked is not None


def _qa(record: Mapping[str, Any], where: str, counters: Counter[str]) -> Talk | None:
    image = _image_of(record, where, counters)
    if image is None:
        return None
    question = _text(record.get("question"), where, "question")
    answers = _answers(record, where)
    if not question or not answers:
        counters["empty_turns"] += 1
        return None
    learnt = record.get("multiple_choice_answer")
    if not isinstance(learnt, str) or learnt.strip() not in answers:
        learnt = Counter(answers).most_common(1)[0][0]
    # People's answers stay as many as they are; the learnt one comes first.
    ordered = sorted(answers, key=lambda answer: answer != learnt.strip())
    kind = record.get("answer_type")
    return Talk(
        id=str(record.get("question_id", record.get("id", ""))),
        image=image,
        turns=(Turn(question=question, answers=tuple(ordered)),),
        tags=(f"answer-type:{kind}",) if isinstance(kind, str) else (),
    )


def _answers(record: Mapping[str, Any], where: str) -> list[str]:
    given = record.get("answers", record.get("answer"))
    listed = given if isinstance(given, list) else [given]
    texts = [item.get("answer") if isinstance(item, dict) else item for item in listed]
    return [text for text in (_text(item, where, "answer") for item in texts) if text]


def _pope(record: Mapping[str, Any], where: str, counters: Counter[str]) -> Talk | None:
    image = _image_of(record, where, counters)
    if image is None:
        return None
    label = _text(record.get("label"), where, "label").lower()
    if label not in ("yes", "no"):
        raise RecipeError(f"{where}: the label is {label!r}; POPE's are yes and no.")
    question = _text(record.get("text"), where, "text")
    return Talk(
        id=str(record.get("question_id", "")),
        image=image,
        turns=(Turn(question=question, answers=(label,)),),
    )


def _image_of(record: Mapping[str, Any], where: str, counters: Counter[str]) -> str | None:
    """The picture's name; None, and counted, where there is none or several."""
    image = record.get("image")
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if isinstance(image, list) and image:
        counters["records_of_several_pictures"] += 1
        return None
    if not image and isinstance(record.get("image_id"), int):
        return f"{record['image_id']:012d}.jpg"
    if not image and isinstance(record.get("image_id"), str):
        return f"{record['image_id']}.jpg"
    if not image:
        counters["records_of_text_only"] += 1
        return None
    if not isinstance(image, str):
        raise RecipeError(f"{where}: 'image' must name a picture, and is {str(image)[:60]!r}.")
    return image


def _text(value: Any, where: str, key: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RecipeError(f"{where}: {key!r} must be text, and is {str(value)[:60]!r}.")
    return value.replace(IMAGE_MARK, "").strip()


_READERS: Mapping[str, Callable[[Mapping[str, Any], str, Counter[str]], Talk | None]] = {
    "llava": _llava,
    "qa": _qa,
    "vqav2": _qa,
    "pope": _pope,
}
