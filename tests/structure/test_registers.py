"""What is listed in many places is written from one."""

from __future__ import annotations

import difflib
from dataclasses import fields

import pytest

from headwater.methods.catalogue import CHAPTERS, METHODS
from tooling import TOOLS, tool

ROOT = TOOLS.parent
WANTED = tool("registers").registers()


@pytest.mark.parametrize("path", WANTED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lists_are_what_the_catalogue_and_the_records_say(path) -> None:
    found, wanted = path.read_text(encoding="utf-8").splitlines(), WANTED[path].splitlines()
    changes = difflib.unified_diff(found, wanted, "now", "wanted", lineterm="", n=0)
    assert found == wanted, "\n".join(["stale; if what it says is meant, run: make registers", *changes])


def test_options_are_spelt_in_one_way() -> None:
    for line in tool("registers").cli_lines():
        words = [word.replace("no-", "") for word in line.split()]
        assert not any("_" in word for word in words), line
        assert len(words) == len(set(words)) or "--no" in line or "no-" in line, line


def test_entries_are_complete_and_by_chapter() -> None:
    for name, entry in METHODS.items():
        blank = {f.name for f in fields(entry) if getattr(entry, f.name) == ""} - {"title_zh"}
        assert not blank, name
    order = [list(CHAPTERS).index(entry.chapter) for entry in METHODS.values()]
    assert order == sorted(order)


def test_every_chapter_has_a_method_on_the_tour() -> None:
    assert {e.chapter for e in METHODS.values() if e.tour} == {e.chapter for e in METHODS.values()}


@pytest.mark.parametrize("name", METHODS)
def test_the_page_of_a_room_begins_with_title_and_paper(name: str) -> None:
    entry = METHODS[name]
    title, _, rest = (entry.folder / "README.md").read_text(encoding="utf-8").partition("\n")
    assert title == f"# {entry.title}"
    head, _, _ = " ".join(rest.split()).partition(" ## ")
    paper = entry.load().paper
    same = [e for e in METHODS.values() if e is not entry and e.load().paper.title == paper.title]
    assert paper.title in head or any(f"/{e.room}/README.md" in head for e in same)
