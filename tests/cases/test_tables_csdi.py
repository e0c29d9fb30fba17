"""What CSDI says of tables that lack columns, and what the command line says of tables to the reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.cli import main
from headwater.data.series import Table, read_table, write_table
from headwater.data.windows import Scale
from headwater.errors import UserError
from headwater.methods.series.csdi.method import Chain, FittedCSDI, ImputerConfig
from headwater.nets.csdi import CSDIConfig


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CSDI of the columns warm and cold, hour by hour, before any training."""
    network = CSDIConfig(2, layers=1, channels=8, heads=2, step_dim=8, time_dim=8, feature_dim=4)
    scale = Scale(np.zeros(2), np.ones(2), 1.0)
    folder = tmp_path_factory.mktemp("csdi") / "fitted"
    config = ImputerConfig(network, ("warm", "cold"), scale, 6, Chain(4))
    FittedCSDI.fresh(config, 0).save_pretrained(folder)
    return folder


HOURS = [f"2024-01-01 {hour:02d}:00" for hour in range(8)]


@pytest.mark.parametrize(
    ("head", "row", "code", "said"),
    [
        (
            "time,warm,cold",
            "{},,{}",
            0,
            "headwater: t: column warm has no value: it is filled from the others\n",
        ),
        (
            "time,warm,cold",
            "{},-999,{}",
            0,
            "headwater: t: column warm has no value: it is filled from the others\n",
        ),
        ("time,cold", "{},{}", 0, "headwater: t: there is no column warm: it is filled from the others\n"),
        ("time,cold,warm", "{},{},1.5", 0, ""),
        (
            "time,cold,warm,rain",
            "{},{},1.5,2",
            0,
            "headwater: t: column rain was not fitted: it is left out\n",
        ),
        (
            "time,cold,Warm",
            "{},{},1.5",
            1,
            "t has the columns Warm, which were not fitted, and lacks warm: rename what is the same",
        ),
        ("time,warm,cold", "{},,", 1, "t has no value at all"),
    ],
)
def test_a_silent_sensor_is_filled_from_the_others(fitted, tmp_path, capfd, head, row, code, said):
    rows = [row.format(hour, i + 0.5) for i, hour in enumerate(HOURS)]
    (tmp_path / "t.csv").write_text("\n".join([head, *rows]) + "\n")
    out, source = tmp_path / "out", tmp_path / "t.csv"
    words = ["--steps", "2", "--samples", "2", "--missing", "-999", "--out", str(out)]
    assert main(["apply", "csdi", "--fitted", str(fitted), "--series", str(source), *words]) == code
    err = capfd.readouterr().err
    assert err == said if code == 0 else said in err
    if code:
        return
    filled = read_table(out / "filled/t.csv")
    assert filled.columns == ("warm", "cold")
    assert np.isfinite(filled.values).all()
    assert filled.values[:, 1].tolist() == [i + 0.5 for i in range(8)]
    if "warm" in said:
        truth = tmp_path / "truth.csv"
        write_table(truth, filled)
        assert main(["evaluate", "csdi", "--result", str(out), "--truth", str(truth), "--json"]) == 0
        assert '"cells": 8.0' in capfd.readouterr().out


def test_a_fit_needs_a_value_in_every_column(tmp_path, capfd):
    (tmp_path / "t.csv").write_text("time,warm,cold\n0,,1\n1,,2\n2,,3\n")
    assert main(["fit", "csdi", "--series", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 1
    assert "column warm has no value at all: remove it or fill some cells" in capfd.readouterr().err


def test_python_users_are_told_the_same(fitted, caplog):
    held = FittedCSDI.from_pretrained(fitted)
    method = hw.CSDI(samples=2, steps=2)
    table = Table(np.ones((8, 1)), np.arange(8.0) * 24, ("cold",), "days")
    found = method.apply([table], held, seed=0, progress=False)
    assert found.filled[0].columns == ("warm", "cold")
    assert "days: there is no column warm" in caplog.text
    assert "days: its rows are 24 apart, those of the fit were 1" in caplog.text
    other = replace(found.filled[0], times=found.filled[0].times + 1)
    with pytest.raises(UserError, match="the truth has rows of other times than the series"):
        method.evaluate(found.filled, found.quantiles, [other], [table])
    lacking = found.filled[0].select(["cold"])
    with pytest.raises(UserError, match="no cell is empty"):
        method.evaluate(found.filled, found.quantiles, [lacking], [table])
    assert "the truth has no column warm: it is not scored" in caplog.text


def test_draws_reach_the_command_line(fitted, tmp_path, capfd):
    rows = [f"{hour},{'' if i in (3, 4) else i},{i}\n" for i, hour in enumerate(HOURS)]
    (tmp_path / "t.csv").write_text("time,warm,cold\n" + "".join(rows))
    (tmp_path / "truth.csv").write_text(
        "time,warm,cold\n" + "".join(f"{h},{i},{i}\n" for i, h in enumerate(HOURS))
    )
    out = tmp_path / "out"
    words = [
        "--fitted",
        str(fitted),
        "--samples",
        "3",
        "--steps",
        "2",
        "--sampler",
        "ddim",
        "--out",
        str(out),
    ]
    assert main(["apply", "csdi", "--series", str(tmp_path / "t.csv"), *words]) == 0
    draws = np.load(out / "samples/t.npz")["samples"]
    assert draws.shape == (3, 2)
    filled = read_table(out / "filled/t.csv").values
    np.testing.assert_allclose(np.median(draws, 0), filled[3:5, 0], rtol=1e-5)
    truth = ["--truth", str(tmp_path / "truth.csv")]
    assert main(["evaluate", "csdi", "--result", str(out), *truth, "--json"]) == 0
    said = capfd.readouterr()
    assert '"crps_sum"' in said.out
    assert '"mae_lines": 0.0' in said.out
    assert "straight lines between the given cells are closer in warm" in said.err
    (out / "samples/t.npz").write_bytes(b"PK\x03\x04")
    assert main(["evaluate", "csdi", "--result", str(out), *truth]) == 1
    np.savez(out / "samples/t.npz", other=draws)
    assert main(["evaluate", "csdi", "--result", str(out), *truth]) == 1
    assert "holds no samples of (draws, cells)" in capfd.readouterr().err


def test_folders_hold_tables_of_any_case_and_name_the_others(fitted, tmp_path, capfd):
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, mark in (("a.CSV", ","), ("b.tsv", "\t"), ("c.Csv", ";")):
        rows = [f"{hour}{mark}{mark}2\n" for hour in HOURS]
        (folder / name).write_text(f"time{mark}warm{mark}cold\n" + "".join(rows))
    (folder / "d.xlsx").write_bytes(b"PK\x03\x04")
    (folder / "notes.txt").write_text("not a table")
    words = ["--fitted", str(fitted), "--steps", "1", "--samples", "1", "--out"]
    assert main(["apply", "csdi", "--series", str(folder), *words, str(tmp_path / "out")]) == 0
    assert "d.xlsx: is no .csv or .tsv file: it is left out" in capfd.readouterr().err
    assert sorted(p.name for p in (tmp_path / "out/filled").iterdir()) == ["a.csv", "b.csv", "c.csv"]
    for name in ("a.CSV", "b.tsv", "c.Csv"):
        (folder / name).unlink()
    assert main(["apply", "csdi", "--series", str(folder), *words, str(tmp_path / "none")]) == 1
    assert "holds no .csv or .tsv file: export d.xlsx as a CSV file" in capfd.readouterr().err


def test_answers_reach_the_reader_from_the_command_line_and_its_record(fitted, tmp_path, capfd):
    rows = [f"{i:02d}/02/2024;{'' if i == 3 else '1,234'};{i}\n" for i in range(1, 9)]
    (tmp_path / "t.csv").write_text("day;warm;cold\n" + "".join(rows))
    (tmp_path / "truth.csv").write_text("day;warm;cold\n" + "".join(rows).replace(";;", ";1,234;"))
    words = ["--fitted", str(fitted), "--steps", "1", "--samples", "1", "--out", str(tmp_path / "out")]
    words = ["apply", "csdi", "--series", str(tmp_path / "t.csv"), *words]
    assert main(words) == 1
    assert "--date-order dmy or mdy" in capfd.readouterr().err
    words += ["--date-order", "dmy"]
    assert main(words) == 1
    assert "--decimal ," in capfd.readouterr().err
    assert main([*words, "--decimal", ",", "--time-column", "day"]) == 0
    assert "07/02/2024;1,2340;7" in (tmp_path / "out/filled/t.csv").read_text()
    truth = ["--truth", str(tmp_path / "truth.csv")]
    assert main(["evaluate", "csdi", "--result", str(tmp_path / "out"), *truth, "--json"]) == 0
    assert '"cells": 1.0' in capfd.readouterr().out
