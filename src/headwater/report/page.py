"""One self-contained HTML page per run: no network, no script needed, nothing beside the file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.atomic import write_file
from headwater.report.blocks import Claim, Numbering, Verdict, plain
from headwater.report.gallery import PictureCell
from headwater.report.layout import assemble
from headwater.report.markup import number
from headwater.report.picture import Cell, picture
from headwater.report.section import Section


@dataclass(frozen=True)
class Highlight:
    """A number large enough to be seen first, with what it is and what to compare it with."""

    label: str
    value: object
    note: str = ""


@dataclass(frozen=True)
class Card:
    """One section in the head of the page: what it is about, at a glance."""

    section: int
    """Its place among the sections."""
    label: str
    text: str
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Provenance:
    """How to get this page again."""

    command: str
    seeds: Sequence[int]
    seconds: float | None
    settings: Mapping[str, object]
    versions: Mapping[str, str]


class Page:
    """A report under construction: add sections, then `write` it.

    `title` names the method or run, `subtitle` is the one-line claim, `kicker` the small line above
    the title (paper, task). All text is plain text; it is escaped.
    """

    def __init__(self, title: str, subtitle: str = "", kicker: str = "Headwater") -> None:
        self.title, self.subtitle, self.kicker = title, subtitle, kicker
        self.sections: list[Section] = []
        self.highlights: list[Highlight] = []
        self.cards: list[Card] = []
        self.cover_cells: list[PictureCell] = []
        self.origin: Provenance | None = None

    def section(self, title: str, lead: str = "") -> Section:
        """Open a section; `lead` says in a sentence what it shows."""
        self.sections.append(Section(title, lead))
        return self.sections[-1]

    def highlight(self, label: str, value: object, note: str = "") -> None:
        """Put a headline number (number, `Estimate` or text) under the title."""
        self.highlights.append(Highlight(label, value, note))

    def card(self, section: Section, label: str, text: str, verdict: Verdict | None = None) -> None:
        """Put a section under the title: its thumbnail, a name, a line of text, a verdict if it has one.

        A page with cards shows the verdicts on them and nowhere else in its head.
        """
        self.cards.append(Card(self.sections.index(section), label, text, verdict))

    def cover(self, pictures: Sequence[Cell], alts: Sequence[str]) -> None:
        """Up to eight pictures under the title; `alts` describes each for those who cannot see."""
        if len(pictures) != len(alts):
            raise ValueError("Give the cover one description per picture.")
        pairs = [(c, a) for c, a in zip(pictures, alts, strict=True) if c is not None]
        self.cover_cells = [PictureCell(picture(c), a) for c, a in pairs[:8]]

    def provenance(
        self,
        command: str | Sequence[str],
        seeds: Sequence[int] = (),
        seconds: float | None = None,
        settings: Mapping[str, object] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """Fill the footer: the command that makes this page again, seeds, duration in seconds.

        `versions` defaults to those of Python, torch, numpy and headwater that run now.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        self.origin = Provenance(
            line, list(seeds), seconds, dict(settings or {}), versions or running_versions()
        )

    @property
    def claims(self) -> list[Claim]:
        """Every claim of every section, in order; the header shows their verdicts."""
        return [b for s in self.sections for b in s.blocks if isinstance(b, Claim)]

    def html(self) -> str:
        """The whole page."""
        return assemble(self, Numbering())

    def numbers(self) -> dict[str, Any]:
        """Everything but the pictures, as JSON-able objects."""
        origin = self.origin
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "verdicts": [claim.verdict for claim in self.claims],
            "cards": [{"label": c.label, "text": c.text, "verdict": c.verdict} for c in self.cards],
            "highlights": [
                {
                    "label": h.label,
                    "value": plain(h.value),
                    "shown": number(h.value),
                    "note": h.note,
                }
                for h in self.highlights
            ],
            "sections": [section.numbers() for section in self.sections],
            "provenance": None if origin is None else plain(vars(origin)),
        }

    def write(self, path: str | Path) -> Path:
        """Write the page to `path`, whole or not at all; missing folders are made."""
        return write_file(Path(path), self.html())

    def write_json(self, path: str | Path) -> Path:
        """Write `numbers()` to `path`, whole or not at all."""
        return write_file(Path(path), json.dumps(self.numbers(), indent=2) + "\n")


def running_versions() -> dict[str, str]:
    """Versions of what computes here: Python, torch, numpy, headwater."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("torch", "numpy", "headwater"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
