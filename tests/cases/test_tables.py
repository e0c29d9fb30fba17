"""Times of tables as loggers and languages write them: where they are, what they are, how they go on."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.errors import UserError
from tables import check_again, read, stamped


@pytest.mark.parametrize(
    ("head", "stamps", "hours", "ahead"),
    [
        ("date", "20240227 20240228 20240229", [0, 24, 48], "20240301 20240302"),
        ("time", "2024022822 2024022823 2024022900", [22, 23, 24], "2024022901 2024022902"),
        ("time", "202402282330 202402290000", [23.5, 24], "202402290030 202402290100"),
        ("time", "20240228T2200Z 20240228T2300Z", [22, 23], "20240229T0000Z 20240229T0100Z"),
        ("time", "20240228T220000 20240228T230000", [22, 23], "20240229T000000 20240229T010000"),
        ("date", "20240228.0 20240229.0", [0, 24], "20240301.0 20240302.0"),
        ("Datum", "30122023 31122023", [0, 24], "01012024 02012024"),
        ("month", "2023-11 2023-12", [0, 720], "2024-01 2024-02"),
        ("yyyymm", "202311 202312 202401", [0, 720, 1464], "202402 202403"),
        ("date", "11/2023 12/2023", [0, 720], "01/2024 02/2024"),
        ("date", "2024-01-31 2024-02-29 2024-03-31", [0, 696, 1440], "2024-04-30 2024-05-31"),
        ("date", "2023-10-31 2024-01-31", [0, 2208], "2024-04-30 2024-07-31"),
        ("date", "2022-02-28 2023-02-28", [0, 8760], "2024-02-29 2025-02-28"),
        ("date", "2023-12-01 2024-01-01", [0, 744], "2024-02-01 2024-03-01"),
        ("date", "2024-01-30 2024-02-29 2024-03-30", [0, 720, 1440], "2024-04-30 2024-05-30"),
        ("date", "2024-01-01 2024-01-02 2024-01-04", [0, 24, 72], "2024-01-05 2024-01-06"),
        ("Datum", "31.12.2023 01.01.2024", [0, 24], "02.01.2024 03.01.2024"),
        ("DATE UTC", "31/12/2023 1/1/2024", [0, 24], "2/1/2024 3/1/2024"),
        ("date_time", "12/30/2023 12/31/2023", [0, 24], "01/01/2024 01/02/2024"),
        ("日期", "2024年2月28日 2024年2月29日", [0, 24], "2024年3月1日 2024年3月2日"),
        ("week", "2024-W51 2024-W52", [0, 168], "2025-W01 2025-W02"),
        ("week", "2024-W52-6 2024-W52-7", [0, 24], "2025-W01-1 2025-W01-2"),
        ("quarter", "2023Q3 2023Q4", [0, 2208], "2024Q1 2024Q2"),
        ("day", "30-Dec-2023 31-Dec-2023", [0, 24], "01-Jan-2024 02-Jan-2024"),
        ("Tag", "27-FEB-2024 28-FEB-2024", [0, 24], "29-FEB-2024 01-MAR-2024"),
        ("Tag", "30-Dez-2023 31-Dez-2023", [0, 24], "01-Jan-2024 02-Jan-2024"),
        ("fecha", "31/ene/2024 29/feb/2024", [0, 696], "31/mar/2024 30/abr/2024"),
        ("Zeit [h]", "23:00 23:30", [23, 23.5], "24:00 24:30"),
        ("Zeit [s]", "0,5 1,0", [0.5, 1], "1,5 2"),
        (
            "time",
            "2023-12-31T23:59:59.5Z 2024-01-01T00:00:00.0Z",
            None,
            "2024-01-01T00:00:00.5Z 2024-01-01T00:00:01.0Z",
        ),
    ],
)
def test_times_go_on_as_the_file_writes_them(tmp_path, head, stamps, hours, ahead):
    table = read(tmp_path, stamped(head, *stamps.split()))
    assert (table.heads, table.columns) == ((head,), ("a",))
    if hours is not None:
        assert table.times.tolist() == hours
    extended = table.extended(2)
    assert extended.stamps[-2:] == tuple(ahead.split())
    assert (np.diff(extended.times) > 0).all()
    check_again(extended, tmp_path)


@pytest.mark.parametrize(
    ("stamps", "hours", "ahead"),
    [
        (("1/1/2024 11:00 PM", "1/13/2024 12:00 AM"), [23, 288], None),
        (("1/13/2024 11:00 PM", "1/14/2024 12:00 AM"), [23, 24], "1/14/2024 1:00 AM"),
        (("Jan 2024", "Feb 2024"), [0, 744], "Mar 2024"),
        (("December 30, 2023", "December 31, 2023"), [0, 24], "January 01, 2024"),
        (("1. Februar 2024", "29. Februar 2024"), [0, 672], "28. März 2024"),
        (("2024-01-01", "2024-01-01 12:00", "2024-01-02"), [0, 12, 24], "2024-01-02 12:00"),  # as R writes it
        (("2024-01-01 23:00", "2024-01-01 24:00"), [23, 24], "2024-01-02 01:00"),
        (("2024-10-27 02:00+02:00", "2024-10-27 02:00+01:00"), [0, 1], "2024-10-27 03:00+01:00"),
        (("2024-01-01 00:00 UTC", "2024-01-01 01:00 UTC"), [0, 1], "2024-01-01 02:00 UTC"),
        (("2016-12-31 23:59:59", "2016-12-31 23:59:60", "2017-01-01 00:00:00"), None, "2017-01-01 00:00:01"),
        (
            ("2024-03-31 00:00", "2024-03-31 01:00", "2024-03-31 03:00", "2024-03-31 04:00"),
            [0, 1, 3, 4],
            None,
        ),
    ],
)
def test_times_with_clocks_names_and_zones(tmp_path, caplog, stamps, hours, ahead):
    table = read(tmp_path, stamped("time", *stamps))
    assert hours is None or table.times.tolist() == hours
    assert ahead is None or table.extended(1).stamps[-1] == ahead
    assert (np.diff(table.times) > 0).all()
    check_again(table, tmp_path)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("head", "stamps", "hours", "ahead", "said"),
    [
        (
            "time",
            "1709164800 1709168400",
            [0, 1],
            "1709172000",
            "column time is read as seconds since 1970: 1709164800 is 2024-02-29",
        ),
        ("ts", "1709164800000 1709168400000", [0, 1], "1709172000000", "milliseconds since 1970"),
        (
            "ts",
            "1709164800000000000 1709168400000000000",
            [0, 1],
            "1709172000000000000",
            "nanoseconds since 1970",
        ),
        ("time", "1709164800.5 1709168400.5", None, "1709172000.5", "seconds since 1970"),
        (
            "Datum",
            "45350,5 45350,541666667",
            [12, 13],
            "45350,583333334",
            "days of a spreadsheet: 45350,5 is 2024-02-28 12:00:00",
        ),
        ("date", "45350 45351", [0, 24], "45352", "days of a spreadsheet"),
        (
            "key",
            "20240228 20240229",
            [0, 24],
            "20240301",
            "column key is read as dates: 20240228 is 2024-02-28",
        ),
        (
            "date",
            "01.02.2024 02.02.2024",
            [0, 24],
            "03.02.2024",
            "the day first, as usual with points: 01.02.2024 is 2024-02-01",
        ),
        (
            "date",
            "11/01/2024 12/01/2024 01/02/2024",
            [0, 24, 504],
            None,
            "the day first, with which the rows rise",
        ),
        (
            "date",
            "2024-01-03 2024-01-02 2024-01-01",
            [0, 24, 48],
            "2024-01-04",
            "from the newest time to the oldest",
        ),
        ("date", "3 2 1", [1, 2, 3], "4", "from the newest time to the oldest"),
        (
            "time",
            "2024-10-27T01:00 2024-10-27T02:00 2024-10-27T02:00 2024-10-27T03:00",
            [1, 2, 3, 4],
            "2024-10-27T04:00",
            "2024-10-27T02:00 comes twice, as where clocks are set back",
        ),
        (
            "time",
            "2024-11-03T01:00 2024-11-03T01:30 2024-11-03T01:00 2024-11-03T01:30",
            [1, 1.5, 2, 2.5],
            None,
            "comes twice",
        ),
    ],
)
def test_assumptions_about_times_are_said(tmp_path, caplog, head, stamps, hours, ahead, said):
    table = read(tmp_path, stamped(head, *stamps.split()))
    assert said in caplog.text
    assert "t.csv" in caplog.text
    assert hours is None or table.times.tolist() == hours
    assert ahead is None or table.extended(1).stamps[-1] == ahead
    assert (table.values[:, 0] == range(len(table))).all() == ("newest" not in said)
    check_again(table, tmp_path)


def test_the_hour_that_clocks_skip_is_none_where_they_repeat_one(tmp_path):
    year = np.arange(
        np.datetime64("2024-03-30T00:00"), np.datetime64("2024-10-29T00:00"), np.timedelta64(1, "h")
    )
    local = [str(hour) for hour in year if str(hour) != "2024-03-31T02:00"]
    local.insert(local.index("2024-10-27T02:00"), "2024-10-27T02:00")
    assert np.diff(read(tmp_path, stamped("time", *local)).times).tolist() == [1] * (len(local) - 1)


@pytest.mark.parametrize(
    ("text", "heads", "columns", "hours", "ahead"),
    [
        (
            ",CO,T\n2024-03-01 06:00,1,3.5\n2024-03-01 06:30,2,4.5\n",
            ("",),
            ("CO", "T"),
            [6, 6.5],
            "2024-03-01 07:00",
        ),
        ("T,CO,Zeit\n3,1,01.03.2024\n4,2,13.03.2024\n", ("Zeit",), ("T", "CO"), [0, 288], None),
        ("t,when\n3,2024-03-01\n4,2024-03-02\n", ("when",), ("t",), [0, 24], "2024-03-03"),
        ("step,TIMESTAMP,v\n7,2024-03-01,1\n9,2024-03-02,2\n", ("TIMESTAMP",), ("step", "v"), [0, 24], None),
        ("Unnamed: 0,date,v\n0,20240228,1\n1,20240229,1\n", ("date",), ("v",), [0, 24], "20240301"),
        (",T,CO\n0,3.0,1\n1,4.0,1\n", ("",), ("T", "CO"), [0, 1], "2"),
        ("time,commissioned,v\n0,2020-01-01,1\n1,2020-01-01,2\n", ("time",), ("v",), [0, 1], "2"),
        (
            "time,updated,v\n2024-03-01,2024-04-01,1\n2024-03-02,2024-04-02,2\n",
            ("time",),
            ("v",),
            [0, 24],
            None,
        ),
        (
            "Date,Time,v\n2024-02-29,23:00,1\n2024-03-01,0:00,2\n",
            ("Date", "Time"),
            ("v",),
            [23, 24],
            "2024-03-01\t1:00",
        ),
        (
            "date;Uhrzeit;v\n31.12.2023;22:30;1,5\n31.12.2023;23:30;2\n",
            ("date", "Uhrzeit"),
            ("v",),
            [22.5, 23.5],
            "01.01.2024\t00:30",
        ),
        (
            "date,time,v\n1/13/2024,11:00 PM,1\n1/14/2024,12:00 AM,2\n",
            ("date", "time"),
            ("v",),
            [23, 24],
            "1/14/2024\t1:00 AM",
        ),
        ("date,hour,v\n20240229,22,1\n20240229,23,2\n", ("date", "hour"), ("v",), [22, 23], "20240301\t00"),
        (
            "date,time,v\n2024-02-29,22,1\n2024-02-29,23,2\n",
            ("date", "time"),
            ("v",),
            [22, 23],
            "2024-03-01\t00",
        ),
        (
            "date,hhmm,v\n20240229,2200,1\n20240229,2300,2\n",
            ("date", "hhmm"),
            ("v",),
            [22, 23],
            "20240301\t0000",
        ),
        ("date,sunrise,v\n2024-03-01,7:01,1\n2024-03-02,6:59,2\n", ("date",), ("v",), [0, 24], None),
        (
            "Jahr;Monat;Tag;Stunde;v\n2024;2;29;22;1\n2024;2;29;23;2\n",
            ("Jahr", "Monat", "Tag", "Stunde"),
            ("v",),
            [22, 23],
            "2024\t3\t1\t0",
        ),
        (
            "day,month,year,v\n28,02,2024,1\n29,02,2024,2\n",
            ("year", "month", "day"),
            ("v",),
            [0, 24],
            "2024\t03\t1",
        ),
        ("year,month,v\n2023,11,1\n2023,12,2\n", ("year", "month"), ("v",), [0, 720], "2024\t1"),
        (
            "year,month,day,min,max\n2024,1,1,1,2\n2024,1,2,2,4\n",
            ("year", "month", "day"),
            ("min", "max"),
            [0, 24],
            None,
        ),
    ],
)
def test_the_time_is_where_the_times_are(tmp_path, text, heads, columns, hours, ahead):
    table = read(tmp_path, text)
    assert (table.heads, table.columns, table.times.tolist()) == (heads, columns, hours)
    assert ahead is None or table.extended(1).stamps[-1] == ahead
    check_again(table.extended(2), tmp_path)


def test_no_forecast_passes_the_end_of_dates(tmp_path):
    with pytest.raises(UserError, match="no date comes 3 steps after 9999-12-30: forecast less"):
        read(tmp_path, stamped("time", "9999-12-29", "9999-12-30")).extended(3)
    with pytest.raises(UserError, match="no date comes 1 steps after 9999-12: forecast less"):
        read(tmp_path, stamped("time", "9999-11", "9999-12")).extended(1)
