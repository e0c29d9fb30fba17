"""Writes every list of methods from the catalogue, the papers and the recorded verdicts: `make registers`.

A list stands between two marks, `NAME: made by ...` and `end of NAME`; what is outside is written by hand.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest.mock import patch

from headwater import cli
from headwater.cli import options
from headwater.experiments.recorded import recorded
from headwater.methods.base import Paper
from headwater.methods.catalogue import CHAPTERS, METHODS, TABLES

ROOT = Path(__file__).parent.parent
METHODS_FOLDER = ROOT / "src" / "headwater" / "methods"
ANY_PRIOR = ROOT / "docs" / "any-prior.md"
VERDICTS = {
    "held": ("held", "成立"),
    "partly": ("partly", "部分成立"),
    "not held": ("not held", "不成立"),
    "": ("not tested yet", "尚未检验"),
}
"""Each verdict in English and in Chinese."""


def main() -> None:
    argparse.ArgumentParser(description="Write the lists of methods from the catalogue.").parse_args()
    _write(registers())
    _write({ANY_PRIOR: any_prior()})


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


def registers() -> dict[Path, str]:
    """Every file that holds a list, and its text as it should be."""
    parts = {
        "README.md": {"methods": readme_table()},
        "README.zh-CN.md": {"methods": readme_table(chinese=True)},
        "docs/index.md": {
            "choice": choice_table(),
            "methods": methods_table(),
            "comparisons": comparisons(),
        },
        "mkdocs.yml": {"methods": navigation()},
        "src/headwater/__init__.py": {"methods": typed_names()},
    }
    texts = {ROOT / "tests" / "cli" / "options.txt": "\n".join(cli_lines()) + "\n"}
    for file, lists in parts.items():
        texts[ROOT / file] = (ROOT / file).read_text(encoding="utf-8")
        for name, lines in lists.items():
            texts[ROOT / file] = _between_marks(texts[ROOT / file], name, lines)
    return texts


def _between_marks(text: str, name: str, lines: Iterable[str]) -> str:
    pattern = rf"(^.*\b{name}: made by `make registers`.*\n)(?:.*\n)*?(.*\bend of {name}\b)"
    body = "".join(f"{line}\n" for line in lines)
    replaced, n = re.subn(pattern, lambda found: found[1] + body + found[2], text, flags=re.MULTILINE)
    if n != 1:
        raise ValueError(f"{n} pairs of marks around {name!r}, instead of one")
    return replaced


def _table(head: str, rows: Iterable[Iterable[str]]) -> list[str]:
    rule = "|" + "---|" * (head.count("|") - 1)
    return ["", head, rule, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _link(name: str, start: str = ".", chinese: bool = False) -> str:
    entry = METHODS[name]
    title = (entry.title_zh if chinese else "") or entry.title
    return f"[{title}]({os.path.relpath(entry.folder / 'README.md', ROOT / start)})"


def cited(paper: Paper, chinese: bool = False) -> str:
    """A paper in short: `Lugmayr et al., CVPR 2022`."""
    surnames = [author.rsplit(" ", 1)[-1] for author in paper.authors.split(", ")]
    if len(surnames) > 2:
        who = surnames[0] + (" 等" if chinese else " et al.")
    else:
        who = ("、" if chinese else " & ").join(surnames)
    return who + ("，" if chinese else ", ") + f"{paper.venue} {paper.year}".strip()


def readme_table(chinese: bool = False) -> list[str]:
    """Methods with their papers, claims and verdicts."""
    found = recorded()
    rows = [
        (
            _link(name, chinese=chinese),
            cited(entry.load().paper, chinese),
            CHAPTERS[entry.chapter][chinese],
            entry.claim_zh if chinese else entry.claim,
            VERDICTS[found[name].verdict if name in found else ""][chinese],
        )
        for name, entry in METHODS.items()
    ]
    english = "| method | paper | chapter | claim tested | verdict |"
    return _table("| 方法 | 论文 | 章节 | 检验的结论 | 结果 |" if chinese else english, rows)


def choice_table() -> list[str]:
    """What to take for what one wants and has."""
    takes: dict[tuple[str, str], list[str]] = defaultdict(list)
    takes["new pictures", "a prior"].append("`headwater sample`")
    for name, entry in METHODS.items():
        takes[entry.want, entry.have].append(_link(name, "docs"))
    rows = [(want, have, ", ".join(links)) for (want, have), links in takes.items()]
    return _table("| you want | you have | take |", rows)


def methods_table() -> list[str]:
    """Methods with their commands and costs."""
    rows = [(_link(name, "docs"), f"`{name}`", e.summary, e.calls) for name, e in METHODS.items()]
    return _table("| method | command | does | network calls a picture |", rows)


def comparisons() -> list[str]:
    """The chapters whose methods are compared."""
    found = recorded()
    rows = [
        (
            f"[{t.title}]({os.path.relpath(METHODS_FOLDER / t.chapter / 'README.md', ROOT / 'docs')})",
            f"`headwater reproduce {name}`",
            t.claim,
            VERDICTS[found[name].verdict if name in found else ""][0],
        )
        for name, t in TABLES.items()
    ]
    return _table("| side by side | command | claim tested | verdict |", rows)


def navigation() -> list[str]:
    """The methods' part of the site's navigation, by chapter."""
    lines = []
    for chapter, (title, _) in CHAPTERS.items():
        names = [name for name, entry in METHODS.items() if entry.chapter == chapter]
        lines += [f"      - {title.capitalize()}:"] * bool(names)
        lines += [f"          - {METHODS[name].title}: methods/{name}.md" for name in names]
        if chapter in TABLES:
            lines.append(f"          - {TABLES[chapter].title}: methods/{chapter}.md")
    return lines


def any_prior() -> str:
    """The page that says which method runs on which prior, as tests/matrix finds it by running them."""
    with patch.object(sys, "path", [str(ROOT / "tests"), *sys.path]):
        from matrix import cells
        from matrix.kinds import KINDS
    refusals = {name: [cells.declined(name, kind) for kind in KINDS] for name in cells.NAMES}
    numbers: dict[str, int] = {}
    for sentence in (s for row in refusals.values() for s in row if s):
        numbers.setdefault(sentence, len(numbers) + 1)
    rows = [
        (_link(name, "docs"), *(f"no ({numbers[s]})" if s else "yes" for s in row))
        for name, row in refusals.items()
    ]
    head = " | ".join(["| method", *(kind.title for kind in KINDS.values())]) + " |"
    notes = [f"{number}. {sentence}" for sentence, number in numbers.items()]
    kinds = [f"- **{kind.title}**: {kind.said}" for kind in KINDS.values()]
    text = ANY_PRIOR.read_text(encoding="utf-8")
    text = _between_marks(text, "matrix", [*_table(head, rows), *notes, ""])
    return _between_marks(text, "kinds", ["", *kinds, ""])


def typed_names() -> list[str]:
    """Imports that tell a type checker what `headwater.NAME` is."""
    lines = []
    for entry in sorted(METHODS.values(), key=lambda e: (e.chapter, e.room)):
        start = f"    from headwater.methods.{entry.chapter}.{entry.room}.method import "
        alias = f"{entry.attribute} as {entry.attribute}"
        short = len(start + alias) <= 110
        lines += [start + alias] if short else [f"{start}(", f"        {alias},", "    )"]
    return lines


class _Asked(Exception):
    """Carries the options class that a verb parses its words into."""


def cli_lines() -> list[str]:
    """One line per command of `headwater`, then its options in order."""
    lines = []
    for verb, (module, _) in cli.VERBS.items():
        targets: list[str] = []
        if verb in ("fit", "apply", "evaluate"):
            targets = [*(["prior"] if verb == "fit" else []), *METHODS]
        for target in targets or [""]:
            flags = _flags(module, target)
            if flags is not None:
                lines.append(" ".join(filter(None, [verb, target, *flags])))
    return lines


def _flags(module: str, target: str) -> list[str] | None:
    """The options of one command, or None if there is no such command."""

    def spy(kind: type, *_: object) -> None:
        raise _Asked(sorted(options.flags(kind)))

    verb = importlib.import_module(f"headwater.cli.{module}")
    if not hasattr(verb, "parse"):
        return ["--json"]
    with patch.object(verb, "parse", spy):
        try:
            verb.run([target] if target else [])
        except _Asked as asked:
            return asked.args[0]
        except ValueError:
            return None
    raise AssertionError(f"{module} parsed nothing")


if __name__ == "__main__":
    main()
