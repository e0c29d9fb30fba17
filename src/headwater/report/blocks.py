"""What a section can hold. A block knows its HTML (`body`) and its numbers without pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from headwater.report.markup import Estimate, Interval, Share, decimals_for, number, paragraphs, text

Verdict = Literal["held", "partly", "not held"]
Best = Literal["max", "min"]
VERDICT_ICONS: dict[str, str] = {"held": "✓", "partly": "◐", "not held": "✕"}


class Numbering:
    """Counts figures and tables in reading order while a page is being rendered."""

    def __init__(self) -> None:
        self._figures, self._tables = itertools.count(1), itertools.count(1)

    def figure(self, caption: str) -> str:
        return f"<figcaption><b>Figure {next(self._figures)}.</b> {text(caption)}</figcaption>"

    def table(self, caption: str) -> str:
        return f"<figcaption><b>Table {next(self._tables)}.</b> {text(caption)}</figcaption>"


class Block(Protocol):
    def body(self, numbering: Numbering) -> str: ...

    def numbers(self) -> dict[str, Any]: ...


def badge(verdict: Verdict, label: str = "") -> str:
    """A verdict as icon, word and colour (never colour alone)."""
    kind = verdict.replace(" ", "-")
    icon = f'<span aria-hidden="true">{VERDICT_ICONS[verdict]}</span>'
    return f'<span class="badge {kind}">{icon}{text(label or verdict.capitalize())}</span>'


def plain(value: object) -> Any:
    """`value` as JSON can hold it: estimates become objects, what is not finite becomes null."""
    if isinstance(value, Estimate):
        return {"mean": plain(value.mean), "sd": plain(value.sd), "n": value.n}
    if isinstance(value, Interval | Share):
        return {"mean": plain(value.mean), "low": plain(value.low), "high": plain(value.high)}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value)


@dataclass(frozen=True)
class Text:
    value: str

    def body(self, numbering: Numbering) -> str:
        return f'<div class="text">{paragraphs(self.value)}</div>'

    def numbers(self) -> dict[str, Any]:
        return {"kind": "text", "text": self.value}


@dataclass(frozen=True)
class Note:
    value: str

    def body(self, numbering: Numbering) -> str:
        return f'<aside class="note">{paragraphs(self.value)}</aside>'

    def numbers(self) -> dict[str, Any]:
        return {"kind": "note", "text": self.value}


@dataclass(frozen=True)
class Claim:
    """What the paper says, what this run measured, and the honest verdict."""

    paper: str
    measured: str
    verdict: Verdict | None
    """None where there is none yet."""
    full: str = ""
    """What a larger run measured, where the verdict is that one's."""

    def __post_init__(self) -> None:
        if self.verdict is not None and self.verdict not in VERDICT_ICONS:
            raise ValueError(f"Give a verdict out of held, partly, not held: not {self.verdict!r}.")

    def body(self, numbering: Numbering) -> str:
        kind = (self.verdict or "").replace(" ", "-")
        said = {"The paper claims": self.paper, "This run measured": self.measured}
        if self.full:
            said = {"The paper claims": self.paper, "Measured at full effort": self.full}
            said["This quick run measured"] = self.measured
        lines = "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in said.items())
        return (
            f'<div class="claim {kind}"><dl>{lines}</dl>{badge(self.verdict) if self.verdict else ""}</div>'
        )

    def numbers(self) -> dict[str, Any]:
        return {
            "kind": "claim",
            "paper": self.paper,
            "measured": self.measured,
            "verdict": self.verdict,
            **({"full": self.full} if self.full else {}),
        }


@dataclass(frozen=True)
class Settings:
    values: Mapping[str, object]

    def body(self, numbering: Numbering) -> str:
        return settings_list(self.values)

    def numbers(self) -> dict[str, Any]:
        return {"kind": "settings", "values": plain(self.values)}


def settings_list(values: Mapping[str, object]) -> str:
    """Nested settings as one flat definition list with dotted names."""
    flat: list[tuple[str, object]] = []

    def walk(prefix: str, node: Mapping[Any, object]) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping):
                walk(f"{prefix}{key}.", value)
            else:
                flat.append((f"{prefix}{key}", value))

    walk("", values)
    rows = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(_setting(value))}</dd></div>" for name, value in flat
    )
    return f'<dl class="settings">{rows}</dl>'


def _setting(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_setting(v) for v in value)
    return "none" if value is None else number(value) if isinstance(value, Estimate) else str(value)


@dataclass(frozen=True)
class Table:
    """Rows of text, numbers and `Estimate`s; `best` names the columns whose best value is bold."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    best: Mapping[str, Best] = field(default_factory=dict)
    decimals: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"Give every table row {len(self.header)} cells, one per column.")
        unknown = (set(self.best) | set(self.decimals)) - set(self.header)
        if unknown:
            raise ValueError(f"Name columns of the table, not {sorted(unknown)}.")

    def body(self, numbering: Numbering) -> str:
        columns = [[row[i] for row in self.rows] for i in range(len(self.header))]
        shown = [self._column(n, c) for n, c in zip(self.header, columns, strict=True)]
        numeric = [i > 0 and any(_size(v) is not None for v in c) for i, c in enumerate(columns)]
        kinds = [' class="num"' if n else "" for n in numeric]
        head = "".join(
            f'<th scope="col"{k}>{text(n)}{self._arrow(n)}</th>'
            for n, k in zip(self.header, kinds, strict=True)
        )
        lines = []
        for cells in zip(*shown, strict=True):
            first = f'<th scope="row">{cells[0]}</th>'
            rest = "".join(f"<td{k}>{c}</td>" for c, k in zip(cells[1:], kinds[1:], strict=True))
            lines.append(f"<tr>{first}{rest}</tr>")
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        caption = numbering.table(self.caption) if self.caption else ""
        return f'<figure class="table">{caption}{scrolling(table, self.caption)}</figure>'

    def _arrow(self, name: str) -> str:
        if name not in self.best:
            return ""
        arrow, word = ("↑", "higher") if self.best[name] == "max" else ("↓", "lower")
        return f' <span class="aim" role="img" aria-label="({word} is better)">{arrow}</span>'

    def _column(self, name: str, column: Sequence[object]) -> list[str]:
        sizes = [s for s in map(_size, column) if s is not None]
        fractional = any(isinstance(v, float | Estimate) for v in column)
        digits = self.decimals.get(name, decimals_for(sizes) if fractional else None)
        cells = [_cell(v, digits) for v in column]
        finite = [s for s in sizes if math.isfinite(s)]
        if name not in self.best or not finite:
            return [
                v.html() if isinstance(v, Interval) else text(c) for v, c in zip(column, cells, strict=True)
            ]
        top = max(finite) if self.best[name] == "max" else min(finite)
        return [
            f"<strong>{text(c)}</strong>" if _size(v) == top else text(c)
            for v, c in zip(column, cells, strict=True)
        ]

    def thumbnail(self) -> str:
        lines = "".join(f"<i>{text(str(cell)[:44])}</i>" for cell in self.rows[0][:2])
        return f'<span class="thumbs words">{lines}</span>'

    def numbers(self) -> dict[str, Any]:
        return {
            "kind": "table",
            "caption": self.caption,
            "header": list(self.header),
            "rows": plain([list(r) for r in self.rows]),
        }


def _size(value: object) -> float | None:
    if isinstance(value, Estimate | Share):
        return value.mean
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _cell(value: object, digits: int | None) -> str:
    if value is None:
        return "–"
    return number(value, digits if isinstance(value, float | Estimate) else None)


def scrolling(inner: str, label: str) -> str:
    """Wide content that scrolls sideways on its own, reachable with the keyboard."""
    name = text(label) or "Table"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{inner}</div>'
