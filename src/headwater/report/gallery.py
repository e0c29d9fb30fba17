"""Blocks that hold pictures: grids and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwater.report.blocks import Numbering
from headwater.report.markup import text
from headwater.report.picture import Picture

# The content column on a desktop, in CSS pixels (page.css: 76rem less margins and contents).
_COLUMN = 890.0


@dataclass(frozen=True)
class PictureCell:
    """A picture of a grid with its alternative text and an optional line beneath it."""

    picture: Picture
    alt: str
    caption: str = ""

    def html(self, room: float) -> str:
        # Whole-number magnification keeps every pixel of a small picture the same size.
        scale = max(1, int(room // self.picture.width))
        crisp = ' class="crisp"' if self.picture.width <= 160 else ""
        line = f"<small>{text(self.caption)}</small>" if self.caption else ""
        return (
            f'<img{crisp} src="{self.picture.uri}" width="{self.picture.width * scale}" '
            f'height="{self.picture.height * scale}" alt="{text(self.alt)}">{line}'
        )


def _few(cells: Sequence[PictureCell | None]) -> str:
    """Up to four pictures in a row."""
    chosen = [c for c in cells if c is not None][:4]
    return f'<span class="thumbs">{"".join(c.html(60) for c in chosen)}</span>'


@dataclass(frozen=True)
class Pictures:
    """A grid: one column per stage of a method, one row per sample."""

    columns: Sequence[str]
    rows: Sequence[Sequence[PictureCell | None]]
    row_labels: Sequence[str] = ()
    caption: str = ""

    def body(self, numbering: Numbering) -> str:
        count = len(self.columns)
        room = min(168.0, (_COLUMN - (130 if self.row_labels else 0)) / count - 10)
        widest = max((c.picture.width for r in self.rows for c in r if c), default=1)
        track = max(1, int(room // widest)) * widest if widest <= room else int(room)
        corner = '<span class="corner"></span>' if self.row_labels else ""
        head = "".join(f'<span role="columnheader">{text(c)}</span>' for c in self.columns)
        lines = [f'<div role="row" class="head">{corner}{head}</div>']
        for i, row in enumerate(self.rows):
            label = self.row_labels[i] if self.row_labels else ""
            side = f'<span role="rowheader">{text(label)}</span>' if self.row_labels else ""
            cells = "".join(f'<span role="cell">{c.html(room) if c else ""}</span>' for c in row)
            lines.append(f'<div role="row">{side}{cells}</div>')
        kind = "grid labelled" if self.row_labels else "grid"
        style = f"--n:{count};--track:{track}px"
        grid = (
            f'<div class="{kind}" role="table" aria-label="{text(self.caption) or "Pictures"}" '
            f'style="{style}">{"".join(lines)}</div>'
        )
        caption = numbering.figure(self.caption) if self.caption else ""
        return f'<figure class="pictures"><div class="scroll">{grid}</div>{caption}</figure>'

    def thumbnail(self) -> str:
        return _few(self.rows[0])

    def numbers(self) -> dict[str, Any]:
        return {
            "kind": "pictures",
            "caption": self.caption,
            "columns": list(self.columns),
            "rows": list(self.row_labels),
            "captions": [[c.caption if c else "" for c in row] for row in self.rows],
        }


@dataclass(frozen=True)
class ContactSheet:
    """Many pictures close together."""

    cells: Sequence[PictureCell]
    columns: int
    caption: str = ""

    def body(self, numbering: Numbering) -> str:
        room = min(168.0, _COLUMN / self.columns - 4)
        widest = max((c.picture.width for c in self.cells), default=1)
        track = max(1, int(room // widest)) * widest if widest <= room else int(room)
        items = "".join(f"<li>{c.html(room)}</li>" for c in self.cells)
        style = f"--n:{self.columns};--track:{track}px"
        caption = numbering.figure(self.caption) if self.caption else ""
        return f'<figure class="sheet"><ul style="{style}">{items}</ul>{caption}</figure>'

    def thumbnail(self) -> str:
        return _few(self.cells)

    def numbers(self) -> dict[str, Any]:
        return {"kind": "contact sheet", "caption": self.caption, "count": len(self.cells)}
