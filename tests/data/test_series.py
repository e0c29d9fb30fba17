"""Tables over time: what a CSV file says comes back, and goes on into the future in the same manner."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data.clocks import way_of
from headwater.data.pictures import Limits, UnreadableError
from headwater.data.series import Table, read_table, write_table
from headwater.data.stamps import Dates
from headwater.errors import UserError

CASES = [
    ("time,a,b\n0,1,\n0.5,,2.25\n3,-1e-07,4\n", ("time",), [0, 0.5, 3]),
    ("timestamp,a\n2020-02-28 22:00,1\n2020-02-29 01:30,2\n", ("timestamp",), [22, 25.5]),
    ("date,a\n2020/2/3,1\n2020/2/10,2\n", ("date",), [0, 168]),
    ("a,ds\n1,2020-01-01T00:00:00Z\n2,2020-01-01T06:00:00Z\n", ("ds",), [0, 6]),
    ("year,month,day,hour,a\n2020,12,31,23,1\n2021,1,1,0,2\n", ("year", "month", "day", "hour"), [23, 24]),
    ("when,a\n2020-01-01,1\n2020-01-02,2\n", ("when",), [0, 24]),
    ("t;a\n1;2\n2;3\n", ("t",), [1, 2]),
]


@pytest.mark.parametrize(("text", "heads", "times"), CASES)
def test_what_was_read_is_written_again(tmp_path, text, heads, times):
    path = tmp_path / "t.csv"
    path.write_text("\ufeff" + text, encoding="utf-8")
    table = read_table(path)
    assert (table.heads, table.times.tolist(), table.name) == (heads, times, "t")
    write_table(tmp_path / "again.csv", table)
    again = read_table(tmp_path / "again.csv")
    assert np.array_equal(again.values, table.values, equal_nan=True)
    assert (again.stamps, again.columns, again.heads) == (table.stamps, table.columns, table.heads)
    if text.startswith(("time", "year")):
        assert (tmp_path / "again.csv").read_text().replace("-1e-07", "-1e-07") == text


@pytest.mark.parametrize(
    ("stamp", "step", "after"),
    [
        ("2019-12-31", 24, "2020-01-01"),
        ("2019-12-31", 36, "2020-01-01"),
        ("2019-12-31 00:00", 1.5, "2019-12-31 01:30"),
        ("2020/2/28 3:00", 24, "2020/2/29 3:00"),
        ("2020-01-01T23:59:59Z", 1 / 3600, "2020-01-02T00:00:00Z"),
        ("2020-01-01 00:00:00.500+02:00", 1, "2020-01-01 01:00:00.500+02:00"),
        ("2020\t2\t9\t23", 1, "2020\t2\t10\t0"),
        ("5", 0.5, "5.5"),
        ("5.5", 0.5, "6"),
    ],
)
def test_the_next_stamp_looks_like_the_last(stamp, step, after):
    assert later(stamp, step) == after


def later(stamp: str, step: float) -> str:
    way = Dates("columns", bare=frozenset("mdH")) if "\t" in stamp else way_of([stamp])
    return way.after([stamp], [step])[0][1]


def moment(stamp: str) -> datetime:
    found = way_of([stamp]).read(stamp)
    assert isinstance(found, datetime)
    return found


@given(st.integers(1, 10_000), st.sampled_from(["2000-01-01 00:00", "1999-12-31T06:30", "2004-02-28 23:15"]))
def test_later_moves_by_as_many_hours(hours, stamp):
    assert (moment(later(stamp, hours)) - moment(stamp)).total_seconds() == 3600 * hours


def test_zones_are_told_apart(tmp_path):
    (tmp_path / "t.csv").write_text("time,a\n2020-01-01 00:00+02:00,1\n2020-01-01 00:00Z,2\n")
    assert np.diff(read_table(tmp_path / "t.csv").times).tolist() == [2]


def test_parts_and_futures_of_a_table(tmp_path):
    (tmp_path / "t.csv").write_text(CASES[1][0])
    table = read_table(tmp_path / "t.csv").extended(2)
    assert table.stamps[-2:] == ("2020-02-29 05:00", "2020-02-29 08:30")
    assert table.times.tolist() == [22, 25.5, 29, 32.5]
    assert np.isnan(table.values[2:]).all()
    part = table.part(1, 9)
    assert (part.stamps, part.values[0, 0], len(part)) == (table.stamps[1:], 2, 3)
    with pytest.raises(UserError, match="two or more"):
        table.part(0, 1).extended(1)
    with pytest.raises(UserError, match="give 0 or more"):
        table.extended(-1)


def test_a_table_must_fit_together():
    values, times = np.zeros((3, 2)), np.arange(3.0)
    with pytest.raises(UserError, match=r"give \(3, 1\)"):
        Table(values, times, ("a",))
    with pytest.raises(UserError, match="2 stamps"):
        Table(values, times, ("a", "b"), stamps=("x", "y"))
    assert Table(values, times, ("a", "b")).filled(np.ones((3, 1)), ("c",)).columns == ("c",)


def test_limits_and_missing_files(tmp_path):
    (tmp_path / "t.csv").write_text(CASES[0][0])
    with pytest.raises(UnreadableError, match="more than 10"):
        read_table(tmp_path / "t.csv", Limits(file_bytes=10))
    with pytest.raises(UnreadableError, match="does not exist"):
        read_table(tmp_path / "u.csv")
