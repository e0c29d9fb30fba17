"""The first items of a run on its page: pictures in a grid, texts in a table, series as curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headwater.cli.kinds import Family
from headwater.data.series import Table
from headwater.report import Section, Series

Shown = Sequence[tuple[str, Mapping[str, Any]]]
"""Name of each item, and its inputs and outputs by name."""
_CHARTS, _COLUMNS, _ROWS = 3, 4, 200
"""Items and columns that are drawn, and rows of each."""


def show(section: Section, families: Mapping[str, Family], shown: Shown) -> None:
    """Put items on a page: `families` says what each of their inputs and outputs is."""
    cells = [key for key, family in families.items() if family.looks == "cell"]
    words = [key for key, family in families.items() if family.looks == "words"]
    curves = [key for key, family in families.items() if family.looks == "curve"]
    texts = [[_text(item[key]) for key in words] for _, item in shown]
    if cells:
        columns = [families[key].cells([item[key] for _, item in shown]) for key in cells]
        labels = [": ".join([name, *said])[:90] for (name, _), said in zip(shown, texts, strict=True)]
        section.pictures(cells, list(zip(*columns, strict=True)), labels)
    elif words:
        rows = [[name, *said] for (name, _), said in zip(shown, texts, strict=True)]
        section.table(["item", *words], rows)
    for name, item in shown[:_CHARTS] if curves else ():
        _charts(section, name, {key: item[key] for key in curves})


def _text(value: str | Sequence[str]) -> str:
    """A text, or the first of several candidates, short enough for a page."""
    text = value if isinstance(value, str) else next(iter(value), "")
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _charts(section: Section, name: str, tables: Mapping[str, Table]) -> None:
    """One chart a column: what was given, what came out, and the outermost quantiles as a band."""
    given = next(iter(tables.values()))
    rows = _window(given)
    start = next(iter(given.stamps), "")
    dated = re.match(r"\d{4}\D", start) is not None
    axis = f"hours since midnight, {start[:10]}" if dated else next(iter(given.heads))
    for k, column in enumerate(given.columns[:_COLUMNS]):
        lines = []
        for key, table in tables.items():
            lines += _lines(key, table.part(*rows), column)
        many = f", the first {_COLUMNS} of {len(given.columns)} columns" if k == 0 else ""
        caption = f"{name}: {column}{many if len(given.columns) > _COLUMNS else ''}"
        section.curve(lines, axis, column, caption)


def _window(table: Table) -> tuple[int, int]:
    """Rows around the first gap, and from the first row if there is none."""
    gaps = np.flatnonzero(np.isnan(table.values).any(1))
    start = max(0, int(gaps[0]) - _ROWS // 4) if len(gaps) and len(table) > _ROWS else 0
    return start, start + _ROWS


def _lines(key: str, table: Table, column: str) -> list[Series]:
    """A column itself, or the middle of its quantiles `column.q05` .. `column.q95` with a band."""
    times, at = table.times.tolist(), {name: k for k, name in enumerate(table.columns)}
    if column in at:
        return [Series(key, times, table.values[:, at[column]].tolist())]
    quantiles = sorted(name for name in at if re.fullmatch(re.escape(column) + r"[. ]q[\d.]+", name))
    if not quantiles:
        return []
    low, middle, high = (
        table.values[:, at[quantiles[i]]].tolist() for i in (0, len(quantiles) // 2, len(quantiles) - 1)
    )
    levels = " to ".join(name[len(column) + 1 :] for name in (quantiles[0], quantiles[-1]))
    return [Series(f"{key} ({levels})", times, middle, low, high)]
