"""The first items of a run on its page: pictures in a grid, texts in a table, series as curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    """One chart a column, those with gaps first: what was given, and what came out where nothing was."""
    key, given = next(iter(tables.items()))
    axis = f"hours since midnight, {given.first_day}" if given.first_day else next(iter(given.heads))
    tables = {label: _aligned(table, given) for label, table in tables.items()}
    rows = _window(tables, given)
    tables = {label: table.part(*rows) for label, table in tables.items()}
    known = np.isnan(tables[key].values).sum(0) == 0
    columns = [given.columns[k] for k in np.argsort(known, kind="stable")]
    drawn = columns[:_COLUMNS]
    for column in drawn:
        many = f", one of {len(columns)} columns" if len(columns) > len(drawn) else ""
        section.curve(_lines(tables, column), axis, column, f"{name}: {column}{many}")


def _aligned(table: Table, given: Table) -> Table:
    """A table whose rows begin later than those that were given, as a forecast's, with empty ones before."""
    lead = int((given.times < table.times[0] - 1e-9).sum()) if len(table) else 0
    values = np.concatenate([np.full((lead, len(table.columns)), np.nan), table.values])
    times = np.concatenate([given.times[:lead], table.times])
    return replace(table, values=values, times=times, stamps=()) if lead else table


def _window(tables: Mapping[str, Table], given: Table) -> tuple[int, int]:
    """Rows around the first gap, or the first row of a forecast; else from the first row."""
    longest = max(map(len, tables.values()))
    later = [int(np.isnan(t.values).all(1).argmin()) for t in tables.values() if t is not given]
    gaps = np.flatnonzero(np.isnan(given.values).any(1)).tolist() or [len(given)]
    gaps = [max(later)] if later and max(later) > 0 else gaps
    start = max(0, min(gaps[0] - _ROWS // 4, longest - _ROWS))
    return start, start + _ROWS


def _lines(tables: Mapping[str, Table], column: str) -> list[Series]:
    """The given column, and each output where it says more, with a band between its outermost quantiles."""
    first, *others = tables
    given = _column(tables[first], column)
    band = next((b for key in others if (b := _band(tables[key], column)) is not None), None)
    lines = [Series(first, tables[first].times.tolist(), given.tolist())]
    for key in others:
        if column not in tables[key].columns:
            continue
        values, times = _column(tables[key], column), tables[key].times.tolist()
        old = np.zeros(len(values), bool)
        old[: len(given)] = values[: len(given)] == given[: len(values)]
        # The neighbours of a gap are drawn too, so that the lines meet.
        alone = old & np.roll(old, 1) & np.roll(old, -1)
        values = np.where(alone, np.nan, values).tolist()
        if band is None or len(band[1]) != len(values):
            lines.append(Series(key, times, values))
        else:
            low, high = (np.where(alone, np.nan, edge).tolist() for edge in band[1:])
            lines.append(Series(f"{key}, {band[0]}", times, values, low, high))
    return lines


def _column(table: Table, column: str) -> np.ndarray:
    return table.values[:, table.columns.index(column)]


def _band(table: Table, column: str) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The outermost of the quantiles `column.q05` .. `column.q95` and their names, if there are any."""
    levels = sorted(c for c in table.columns if re.fullmatch(re.escape(column) + r"[. ]q[\d.]+", c))
    if len(levels) < 2:
        return None
    low, high = levels[0], levels[-1]
    said = " to ".join(name[len(column) + 1 :] for name in (low, high))
    return said, _column(table, low), _column(table, high)
