"""The protocols' pages say what the code computes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from t4spp.cli import build_parser
from t4spp.evaluation.protocols.catalogue import PROTOCOLS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted((DOCS / "protocols").glob("*.md"))


def score_names(name: str) -> list[str]:
    protocol = PROTOCOLS[name]()
    protocol.update([])
    return list(protocol.compute())


def named_in(text: str) -> tuple[set[str], set[str]]:
    """The names that a page writes as code, ``pr@0.5`` to ``pr@0.9`` spelt out; and their words."""
    names = set(re.findall(r"`([^`\n]+)`", text))
    for stem, first, last in re.findall(r"`([\w@]+?)(\d\.\d)` to `\1(\d\.\d)`", text):
        tenths = range(round(10 * float(first)), round(10 * float(last)) + 1)
        names |= {f"{stem}{number / 10}" for number in tenths}
    return names, {word for name in names for word in re.split(r"[^\w@.]|_", name)}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_has_a_page_that_names_its_scores(name: str) -> None:
    text = (DOCS / "protocols" / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.search(r"source|github\.com|arXiv", text, re.IGNORECASE), "no source"
    names, words = named_in(text)
    missing = [score for score in score_names(name) if score not in names]
    if "bbox_..." in names:  # families of scores: each word of a name stands on the page
        missing = [score for score in missing if not set(score.split("_")) <= words]
    assert missing == []


def test_no_page_describes_a_protocol_that_is_gone() -> None:
    assert {page.stem for page in PAGES} == set(PROTOCOLS)


def test_index_has_a_row_for_every_protocol() -> None:
    text = (DOCS / "protocols.md").read_text()
    rows = re.findall(r"^\| \[([\w-]+)\]\(protocols/\1\.md\) \|", text, re.MULTILINE)
    assert rows == list(PROTOCOLS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_written_commands_are_ones_that_the_program_takes(page: Path) -> None:
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ")
    for line in re.findall(r"^ *t4spp (.*)$", lines, re.MULTILINE):
        words = shlex.split(line, comments=True)
        build_parser(words[0]).parse_args(words[1:])
