"""The pages say what is so: their code runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import posixpath
import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import yaml

from headwater.cli import VERBS, main
from headwater.data import shipped as data
from headwater.methods.catalogue import METHODS, TABLES
from tooling import tool

ROOT = Path(__file__).parents[2]
DOCS = [*sorted((ROOT / "docs").rglob("*.md")), *(room / "README.md" for room in tool("site").ROOMS.values())]
FRONT = [ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*FRONT, *DOCS]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHER_COMMANDS = {"git", "cd", "make", "pip"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [code for lang, code in FENCE.findall(page.read_text(encoding="utf-8")) if lang == language]


def commands(page: Path) -> list[list[str]]:
    """Every shell command of a page as words; comments and line continuations are gone."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def promised(code: str) -> list[str]:
    """What the unindented prints of a block say they print: `print(...)  # this`."""
    return re.findall(r"^print\(.*\)  # (.+)$", code, re.MULTILINE)


WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page.name != "README.zh-CN.md"]
WITH_SHELL = [page for page in PAGES if blocks(page, "sh")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_blocks_run_and_print_what_they_say(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where dataclasses look up their annotations
    for number, code in enumerate(blocks(page, "python"), 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{name_of(page)} block {number}", "exec", dont_inherit=True), vars(module))
        lines = iter(printed.getvalue().splitlines())
        for line in promised(code):
            assert line in lines, f"block {number} promises {line!r} and prints\n{printed.getvalue()}"


@pytest.mark.parametrize("page", WITH_SHELL, ids=name_of)
def test_shell_commands_parse(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)  # recipes are named from here
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for line in commands(page):
        # `torchrun ... -m headwater WORDS` is `headwater WORDS` in several processes.
        words = line[line.index("headwater") :] if line[0] == "torchrun" else line
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        elif words[0] in OTHER_COMMANDS:
            continue
        else:
            assert words[0] == "headwater", words
            assert words[1] in VERBS, words
            assert parses(words[1:]), f"{shlex.join(words)}: {capsys.readouterr().err}"


def parses(words: list[str]) -> bool:
    """Whether a verb takes these words; nothing is carried out."""
    if words[0] in ("list", "show"):  # these only print
        return main(words) == 0
    if words[0] in ("fit", "apply", "evaluate", "reproduce") and words[1] not in (*METHODS, *TABLES, "prior"):
        return False
    try:
        return main([*words, "--print-config"]) == 0
    except SystemExit as end:
        return end.code == 0


def test_chinese_readme_has_the_same_code() -> None:
    english, chinese = (FENCE.findall(page.read_text(encoding="utf-8")) for page in FRONT[:2])
    assert english == chinese


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in headings(found), f"{target} names no heading"


def headings(page: Path) -> set[str]:
    """Anchors of a page, as GitHub and MkDocs make them for plain English headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"\b(?:TODO|FIXME|TBD|XXX|lorem ipsum)\b", text, re.IGNORECASE)


def test_data_page_agrees_with_the_manifest() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|(.+)\|$", (ROOT / "docs/data.md").read_text(encoding="utf-8"), re.M)
    shown = {name: re.findall(r"(\w+) ([\d,]+)", cells) for name, cells in rows if name in data.manifest()}
    assert list(shown) == list(data.manifest())
    for name, pairs in shown.items():
        told = {split: int(count.replace(",", "")) for split, count in pairs if count.strip(",")}
        for split, count in data.manifest()[name]["splits"].items():
            assert told.get(split) == count, (name, split)


def test_site_holds_every_page() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = re.findall(r"[\w/-]+\.md", str(site["nav"]))
    rooms = [
        f"methods/{name}.md" for name in {*METHODS, *(t.chapter for t in TABLES.values())}
    ]  # put there by tools/site.py
    own = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted([*own, *rooms])


def test_links_between_pages_hold_on_the_site() -> None:
    rooms = {f"methods/{name}.md": folder / "README.md" for name, folder in tool("site").ROOMS.items()}
    own = {page.relative_to(ROOT / "docs").as_posix(): page for page in (ROOT / "docs").rglob("*.md")}
    places = {**own, **rooms}
    for place, page in places.items():
        shown = types.SimpleNamespace(file=types.SimpleNamespace(src_uri=place))
        text = tool("site").on_page_markdown(page.read_text(encoding="utf-8"), shown, None, None)
        for target in re.findall(r"\]\(([^)#\s]+\.md)", FENCE.sub("", text)):
            if not re.match(r"https?://", target):
                assert posixpath.normpath(posixpath.join(place, "..", target)) in places, (place, target)
