"""Numbers and files of tables as spreadsheets write them: read right, by a noted assumption, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.data.series import write_table
from headwater.errors import UserError
from tables import cells, check_again, read, stamped


@pytest.mark.parametrize(
    ("text", "sentence", "said"),
    [
        (
            "start,end,v\n2024-01-01,2024-01-02,1\n2024-01-02,2024-01-03,1\n",
            "several columns of dates, 'start', 'end': add --time-column NAME",
            {"time_column": "end"},
        ),
        (
            "CO,T\n0,3.0\n1,4.5\n2,4.7\n",
            "column T may hold the time or a temperature: add --time-column T",
            {"time_column": "T"},
        ),
        (
            "x,v\n0,3.0\n1,4.5\n",
            "no time column: call one `time` or `timestamp`, or add --time-column",
            {"time_column": "x"},
        ),
        (
            stamped("date", "01/02/2024", "02/02/2024"),
            "line 2: '01/02/2024' can be 2024-02-01 or 2024-01-02: add --date-order dmy or mdy",
            {"date_order": "mdy"},
        ),
        (stamped("date", "01-02-2024", "02-02-2024"), "add --date-order dmy or mdy", {"date_order": "dmy"}),
        (stamped("date", "01022024", "02022024"), "add --date-order dmy or mdy", {"date_order": "dmy"}),
        (
            stamped("date", "01/02/24", "02/02/24"),
            "a year of two digits: write four, or add --date-order",
            {"date_order": "ymd"},
        ),
        (
            stamped("date", "01-Feb-24", "02-Feb-24"),
            "a year of two digits: write four, or add --date-order",
            {"date_order": "dmy"},
        ),
        (
            cells("1,234", "2,345"),
            "line 2, column a: '1,234' can mean 1.234 or 1234: add --decimal , or --decimal .",
            {"decimal": ","},
        ),
        ('time,a\n0,"1,234"\n1,"2,345"\n', "add --decimal , or --decimal .", {"decimal": "."}),
        (cells("1.234", "950"), "'1.234' can mean 1.234 or 1234", {"decimal": ","}),
        (
            cells("1e39", "2"),
            "line 2, column a: 1e39 is beyond 3.4e38, where float32 ends: leave it empty, or add --missing",
            {"missing": (1e39,)},
        ),
    ],
)
def test_what_can_mean_two_things_is_asked_and_the_answer_works(tmp_path, text, sentence, said):
    with pytest.raises(UserError) as refused:
        read(tmp_path, text)
    assert sentence in str(refused.value)
    assert "t.csv" in str(refused.value)
    check_again(read(tmp_path, text, **said), tmp_path, **said)


def test_answers_decide(tmp_path):
    dates = stamped("date", "01/02/2024", "02/02/2024")
    assert read(tmp_path, dates, date_order="mdy").times.tolist() == [0, 744]
    assert read(tmp_path, dates, date_order="dmy").times.tolist() == [0, 24]
    assert read(tmp_path, stamped("d", "31/12/98", "01/01/99"), date_order="dmy").first_day == "1998-12-31"
    assert read(tmp_path, stamped("d", "24/02/03", "24/02/04"), date_order="ymd").first_day == "2024-02-03"
    assert read(tmp_path, cells("1,234", "2"), decimal=",").values[:, 0].tolist() == [1.234, 2]
    assert read(tmp_path, cells("1,234", "2"), decimal=".").values[:, 0].tolist() == [1234, 2]
    assert read(tmp_path, cells("1.234", "950"), decimal=",").values[:, 0].tolist() == [1234, 950]
    with pytest.raises(UserError, match="no date in the order mdy"):
        read(tmp_path, stamped("d", "31/12/2023", "01/01/2024"), date_order="mdy")
    with pytest.raises(UserError, match=r"has the decimal sign '\.': leave out --decimal ,"):
        read(tmp_path, cells("1.5", "2"), decimal=",")
    for wrong in ({"decimal": ";"}, {"date_order": "ydm"}, {"time_column": "b"}):
        with pytest.raises(UserError, match=r"--decimal|--date-order|no column 'b': --time-column is one of"):
            read(tmp_path, cells("1.5", "2"), **wrong)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            stamped("time", "2024-01-03", "2024-01-02", "2024-01-04"),
            "line 3: '2024-01-02' is not after the time before it: sort the rows",
        ),
        (
            stamped("time", "2024-01-03", "2024-01-04", "2024-01-04"),
            "line 4: '2024-01-04' is the time of line 3 too: give each time once",
        ),
        (
            stamped("time", "2024-10-28 02:00", "2024-10-28 02:00", "2024-10-28 03:00"),
            "is the time of line 2 too",
        ),
        (
            stamped("time", "2024-01-03", "2024-01-04", "Summe"),
            "line 4: 'Summe' is no time: write YYYY-MM-DD HH:MM or a number, or remove the line if",
        ),
        (stamped("time", "2024-01-03", "", "2024-01-04"), "line 3: '' is no time"),
        (stamped("time", "2023-02-28", "2023-02-29", "2023-03-01"), "line 3: '2023-02-29' is no time"),
        (
            stamped("time", "31.12.2023", "2024-01-01", "02.01.2024"),
            "line 3: '2024-01-01' is a time of another kind",
        ),
        (
            stamped("time", "2024-01-01 00:00", "2024-01-01 01:00Z"),
            "line 3: '2024-01-01 01:00Z' is a time of another kind",
        ),
        (stamped("time", "23:30", "00:00"), "not after the time before it"),
        (stamped("time", "1e999", "2"), "line 2: '1e999' is no time"),
        ("year,month,day,v\n2024,1,1,2\n2024,1,2,3\ninf,1,1,2\n", "'inf 1 1' is no time"),
        (
            "2024-01-01,1,2\n2024-01-02,2,3\n",
            "line 1, holds numbers or dates where the names of the columns should be: add a header such as",
        ),
        ("0;1;2\n1;2;3\n", "add a header such as time;a;b"),
        (
            "time,a,b\n2024-01-01,3,50,80,00\n",
            "the header 3: correct it, and if its numbers have a decimal comma, put ; between the cells",
        ),
        (
            "Station 7\ntime,a\n0,1\n1,2\n",
            "has 2 cells, the header 1: correct it, and remove what stands above the header",
        ),
        ("time,a,a\n1,2,3\n", "two columns 'a'"),
        ("time a\n1 2\n", "has one cell in each line: put a comma, a semicolon or a tab between cells"),
        (stamped("t", "2024-01-01 13:00 PM", "2024-01-01 14:00 PM"), "'2024-01-01 13:00 PM' is no time"),
        (stamped("time", "2024-01-01-22", "2024-01-01-23"), "'2024-01-01-22' is no time"),
        (
            cells("1,5", "1.5"),
            "column a: '1,5' in line 2 and '1.5' in line 3 have different decimal signs: write all in",
        ),
        (cells("1.234,5", "1,234.5"), "different decimal signs"),
        (cells("1,234", "1.234"), "different decimal signs"),
        (cells("12 °C", "13 °C"), "line 2, column a: '12 °C' has a unit: write the number alone"),
        (cells("12", "13 km"), "line 3, column a: '13 km' has a unit"),
        (cells("12%", "13"), "line 3, column a: '13' has no percent sign and others have one"),
        (cells("3", "0x1F"), "line 3, column a: '0x1F' is no number"),
        (cells("3", "1_000"), "'1_000' is no number"),
        (cells("3", "1.2.3"), "'1.2.3' is no number"),
        (cells("3", "1 2"), "'1 2' is no number"),
        (cells("3", "=A1"), "'=A1' is no number"),
        (cells("3", "-inf"), "line 3, column a: -inf is not finite"),
        (cells("∞", "∞"), "∞ is not finite"),
        (cells("3", "1e999"), "line 3, column a: 1e999 is not finite"),
        (b"PK\x03\x04", "is an Excel workbook or another packed file: export the table as a CSV file"),
        (b"\xd0\xcf\x11\xe0", "is an old Excel workbook: export"),
        (b"PAR1", "is a Parquet file: save the table as a CSV file"),
        (b"\x1f\x8b", "is packed by gzip: unpack it"),
        (b'{"a": 1}', "is JSON"),
        (b"<!DOCTYPE html>", "is HTML"),
        (b"time,a\n0,\0\n", "holds zero bytes, so it is no text"),
        (b"time,a\n0,\xff\x81\n", "is not UTF-8 text: save it as a CSV file in UTF-8"),
        (b"\xff\xfet\0i\0", "has a header but no rows"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError) as refused:
        read(tmp_path, text)
    assert sentence in str(refused.value)
    assert "t.csv" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (cells("3,50", "4,2"), [3.5, 4.2]),
        (cells("3,50", "7"), [3.5, 7]),
        ("time\ta\n0\t3,5\n1\t4,25\n", [3.5, 4.25]),
        ('time,a\n0,"3,5"\n1,"4,25"\n', [3.5, 4.25]),
        ('time,a\n0,"1,234.5"\n1,"2,345"\n', [1234.5, 2345]),
        (cells("1.234,5", "2.345"), [1234.5, 2345]),
        (cells("1 234,5", "12 345 678"), [1234.5, 12345678]),
        (cells("1\u202f234,5", "2\u00a0345,25"), [1234.5, 2345.25]),
        (cells("1'234.5", "2’345.25"), [1234.5, 2345.25]),
        (cells("1,234,567", "12,34,567.5"), [1234567, 1234567.5]),
        (cells("1.234.567", "3"), [1234567, 3]),
        (cells("0,123", "1,234"), [0.123, 1.234]),
        (cells("1.234", "0.5"), [1.234, 0.5]),
        (cells("+5", "−5", "–1.5", "1e5", "1,5e-3".replace(",", ".")), [5, -5, -1.5, 1e5, 1.5e-3]),
        (cells("5.", ".5", "-.5"), [5, 0.5, -0.5]),
        (
            cells("NA", "n/a", "-", ".", "#N/A", "?", "missing", "null", "--", "#DIV/0!", "3"),
            [np.nan] * 10 + [3],
        ),
        ("sep=;\ntime;a\n0;2,5\n1;3\n", [2.5, 3]),
        ("# made by x\n# on a day\ntime,a\n0,2\n1,3\n", [2, 3]),
        ("#time,a\n0,2\n1,3\n", [2, 3]),
        ("time,a,\n0,2,\n1,3,\n", [2, 3]),
        ("time,a\n0,2,\n1,3,,\n", [2, 3]),
        ("time,a,\n0,2\n1,3\n", [2, 3]),
        ("\ntime,a\n\n0,2\n,\n1,3\n\n", [2, 3]),
        ("time,a\r0,2\r1,3\r", [2, 3]),
        ("time|a\r\n0|2.5\r\n1|3\r\n", [2.5, 3]),
        ("\ufefftime;a\n0;2,5\n1;3\n", [2.5, 3]),
        ("time\ta\n0\t2,5\n1\t3\n".encode("utf-16"), [2.5, 3]),
        ("time\ta\n0\t2,5\n1\t3\n".encode("utf-16-le"), [2.5, 3]),
        ("time\ta\n0\t2,5\n1\t3\n".encode("utf-16-be"), [2.5, 3]),
        ("Date;Temp, °C\n2024-01-01;3,5\n2024-01-02;4,5\n", [3.5, 4.5]),
        ('time,"a\n(m)"\n0,2\n1,3\n', [2, 3]),
    ],
)
def test_numbers_and_files_of_many_programs(tmp_path, caplog, text, values):
    table = read(tmp_path, text)
    np.testing.assert_array_equal(table.values[:, 0], values)
    assert caplog.text == ""
    check_again(table, tmp_path)


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        (
            cells("1,234;1,5", "2,345;2", head="a;b"),
            [1.234, 2.345],
            "column a: 1,234 is read as 1.234, as other columns have a decimal comma",
        ),
        (
            cells("1.234;1,5", "2.345;2", head="a;b"),
            [1234, 2345],
            "column a: 1.234 is read as 1234, as other columns have a decimal comma",
        ),
        (cells("1,234;1.5", "2,345;2", head="a;b"), [1234, 2345], "as other columns have a decimal point"),
        (cells("12%", "13,5 %"), [12, 13.5], "column a is in percent: 12% is read as 12"),
        (
            cells("-999", "5", "-999", "6"),
            [-999, 5, -999, 6],
            "column a holds -999, far from its other values (5 to 6): if it",
        ),
        (cells("9999.9", "1013", "990"), [9999.9, 1013, 990], "add --missing 9999.9"),
        (cells("1e20", "5", "6"), [1e20, 5, 6], "add --missing 1e+20"),
        (cells("-999", "-999"), [-999, -999], "column a holds -999 and nothing else"),
        (
            "time;a;ok\n;[m/s];-\n0;2;1\n1;3;1\n",
            [2, 3],
            "line 2 holds neither a time nor a number ([m/s], -): it is taken for units",
        ),
        (
            "time;T °C\n0;2,5\n1;3\n".encode("cp1252"),
            [2.5, 3],
            "is not UTF-8 text: it is read as Windows-1252",
        ),
        (
            cells("1;SE", "2;NW", head="a;wind"),
            [1, 2],
            "column wind holds words, not numbers: it is left out",
        ),
        (cells("1;yes", "2;no", head="a;open"), [1, 2], "column open holds words"),
        (
            "time;a;end\n2024-01-01;1;2024-02-01\n2024-01-02;2;2024-02-02\n",
            [1, 2],
            "column end holds times, not numbers",
        ),
        (
            "time;a;key\n2024-01-01;1;20240101\n2024-01-02;2;20240102\n",
            [1, 2],
            "column key holds times, not numbers",
        ),
        (
            "id;date;a\n1;2024-01-01;1\n2;2024-01-02;2\n",
            [1, 2],
            "column 'id' counts the rows: it is left out",
        ),
    ],
)
def test_assumptions_about_numbers_are_said(tmp_path, caplog, text, values, said):
    table = read(tmp_path, text)
    assert table.values[:, 0].tolist() == values
    assert said in caplog.text
    assert caplog.text.count("t.csv") == 1
    check_again(table, tmp_path)


def test_codes_for_missing_values_are_missing_when_declared(tmp_path, caplog):
    table = read(tmp_path, cells("-999", "−999,0", "5,5", "1e+20"), missing=(-999, 1e20))
    np.testing.assert_array_equal(table.values[:, 0], [np.nan, np.nan, 5.5, np.nan])
    assert caplog.text == ""
    assert read(tmp_path, cells("12", "99", "45", "100"), missing=()).values[:, 0].tolist() == [
        12,
        99,
        45,
        100,
    ]
    assert caplog.text == ""  # 99 is a number among such numbers


def test_results_are_written_as_the_file_was(tmp_path):
    write_table(
        tmp_path / "out.csv", read(tmp_path, "Date;Temp\n31.12.2023;1.234,5\n01.01.2024;1,234\n").extended(1)
    )
    assert (
        tmp_path / "out.csv"
    ).read_text() == "Date;Temp\n31.12.2023;1234,5\n01.01.2024;1,2340\n02.01.2024;\n"


def test_many_columns_are_read_in_time_that_grows_with_them(tmp_path):
    names = ",".join(f"c{i}" for i in range(10_000))
    table = read(tmp_path, f"time,{names}\n" + "".join(f"{r}" + f",{r}" * 10_000 + "\n" for r in range(2)))
    assert table.arranged(table.columns[::-1]).columns[0] == "c9999"
