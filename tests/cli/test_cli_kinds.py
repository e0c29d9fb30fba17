"""Texts, series and k-space on the command line, with tiny methods that are made up here."""

from __future__ import annotations

import csv
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Unpack

import h5py
import nibabel
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from headwater.cli.options import fill
from headwater.cli.record import read_record
from headwater.data.series import Table, read_table
from headwater.errors import need
from headwater.methods.base import (
    Images,
    Magnitude,
    Mask,
    Method,
    Paper,
    Scores,
    Series,
    Texts,
    Volumes,
)
from headwater.methods.catalogue import METHODS, Entry
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig

PAPER = Paper("A title", "A. Author", 2020, "0000.00000", "It works.")


@dataclass(frozen=True)
class Ending:
    """What `Shout` learns."""

    mark: str

    @property
    def hash(self) -> str:
        return self.mark

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "mark.npy").write_text(self.mark)

    @classmethod
    def from_pretrained(cls, folder: Path, *, device: str = "cpu") -> Ending:
        return cls((folder / "fitted" / "mark.npy").read_text())


@dataclass(frozen=True)
class Shouted:
    """What `Shout` returns."""

    target: Texts
    tries: Texts
    score: Scores


@dataclass(frozen=True)
class Shout(Method):
    """Upper case, and the last letter of the first target."""

    paper: ClassVar[Paper] = PAPER
    applied: ClassVar[tuple[str, ...]] = ("loud",)
    loud: int = 1
    """Number of marks."""
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(steps=7, lr=0.5))
    """How it is trained."""

    def fit(self, source: Texts, target: Texts, **how: Unpack[RunOptions]) -> Ending:
        run = Run(**how)
        assert run.checkpoint_dir is not None
        run.checkpoint_dir.mkdir(exist_ok=True)
        need(self.training.steps > 1 or (run.checkpoint_dir / "begun").exists(), "stopped: it took too long")
        (run.checkpoint_dir / "begun").write_text("")
        assert len(source) == len(target)
        return Ending(target[0][-1])

    def apply(self, source: Texts, fitted: Ending, **how: Unpack[RunOptions]) -> Shouted:
        said = [text.upper() + fitted.mark * self.loud for text in source]
        return Shouted(said, [[s, s.lower()] for s in said], torch.tensor([float(len(s)) for s in said]))  # type: ignore[list-item]

    def evaluate(self, target: Texts, truth: Texts) -> dict[str, float]:
        return {"equal": sum(a == b for a, b in zip(target, truth, strict=True)) / len(truth)}


@dataclass(frozen=True)
class Filled:
    """What `Mean` returns."""

    filled: Series
    quantiles: Series


@dataclass(frozen=True)
class Mean(Method):
    """The mean of each column."""

    paper: ClassVar[Paper] = PAPER
    ahead: int = 0
    """Rows to add."""

    def apply(self, series: Series, **how: Unpack[RunOptions]) -> Filled:
        tables = [table.extended(self.ahead) for table in series]
        means = [np.nanmean(table.values, 0) for table in tables]
        filled = [
            t.filled(np.where(np.isnan(t.values), m, t.values)) for t, m in zip(tables, means, strict=True)
        ]
        return Filled(filled, [_spread(table) for table in filled])

    def evaluate(self, filled: Series, truth: Series) -> dict[str, float]:
        pairs = zip(filled, truth, strict=True)
        return {"mae": float(np.mean([np.abs(a.values - b.values).mean() for a, b in pairs]))}


def _spread(table: Table) -> Table:
    columns = tuple(f"{name}.q{level}" for name in table.columns for level in ("05", "50", "95"))
    return table.filled(np.stack([v + d for v in table.values.T for d in (-1, 0, 1)], 1), columns)


@dataclass(frozen=True)
class Recon:
    """What `ZeroFill` returns."""

    magnitude: Magnitude
    std: Magnitude


@dataclass(frozen=True)
class ZeroFill(Method):
    """The inverse transform of what was measured."""

    paper: ClassVar[Paper] = PAPER
    shape: ClassVar[tuple[int, int, int]] = (1, 2, 2)
    """Of pictures, which a mask of k-space has nothing to do with."""

    def apply(self, kspace: Volumes, mask: Mask | None = None, **how: Unpack[RunOptions]) -> Recon:
        kept = kspace if mask is None else [k * m[0] for k, m in zip(kspace, mask, strict=True)]
        pictures = [torch.fft.ifft2(k).abs().reshape(-1, *k.shape[-2:]).square().sum(0).sqrt() for k in kept]
        return Recon(pictures, [torch.zeros_like(p) for p in pictures])

    def evaluate(self, magnitude: Magnitude, truth: Magnitude) -> dict[str, float]:
        return {"error": max(float((a - b).abs().max()) for a, b in zip(magnitude, truth, strict=True))}


@dataclass(frozen=True)
class Side:
    """What `Paint` learns."""

    shape: tuple[int, int, int]

    @property
    def hash(self) -> str:
        return str(self.shape)

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "shape.json").write_text(json.dumps(self.shape))

    @classmethod
    def from_pretrained(cls, folder: Path, *, device: str = "cpu") -> Side:
        return cls(tuple(json.loads((folder / "fitted" / "shape.json").read_text())))


@dataclass(frozen=True)
class Paint(Method):
    """A picture as bright as the caption is long."""

    paper: ClassVar[Paper] = PAPER

    def fit(self, image: Images, caption: Texts, **how: Unpack[RunOptions]) -> Side:
        assert len(image) == len(caption)
        channels, height, width = image.shape[1:]
        return Side((channels, height, width))

    def apply(self, caption: Texts, fitted: Side, **how: Unpack[RunOptions]) -> Images:
        return torch.stack([torch.full(fitted.shape, len(text) / 10 - 1) for text in caption])

    def evaluate(self, image: Images, truth: Images) -> dict[str, float]:
        return {"mse": float((image - truth).square().mean())}


class _Here(Entry):
    def load(self) -> type[Method]:
        return globals()[self.attribute]


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, attribute in (
        ("shout", "Shout"),
        ("mean", "Mean"),
        ("zero-fill", "ZeroFill"),
        ("paint", "Paint"),
    ):
        monkeypatch.setitem(METHODS, name, _Here("test", "", attribute, "made up"))


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    found = [{"source": f"häuser {i}", "target": f"HÄUSER {i}!"} for i in range(5)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), encoding="utf-8")
    return path


@pytest.fixture
def shouting(headwater, pairs, tmp_path):
    """A fitted `Shout`."""
    said = headwater("fit", "shout", "--source", pairs, "--target", pairs, "--out", tmp_path / "fit")
    assert said.code == 0, said
    assert "fitted on 5 texts" in said.out
    return tmp_path / "fit"


def test_fit_says_how_many_items_had_a_partner(headwater, tmp_path):
    source, target = tmp_path / "source.txt", tmp_path / "target.txt"
    source.write_text("a b\nc d\ne f\n")
    target.write_text("A B\nC D\n")
    said = headwater("fit", "shout", "--source", source, "--target", target, "--out", tmp_path / "fit")
    assert "fitted on 2 of 3 texts, since the others have no partner" in said.out


def test_texts_go_through_fit_apply_evaluate_and_rerun(headwater, pairs, shouting, tmp_path):
    words = ["--source", pairs, "--fitted", shouting, "--out", tmp_path / "out", "--batch", "2", "--json"]
    assert headwater("apply", "shout", *words).json["items"] == 5
    found = rows(tmp_path / "out/target.jsonl")
    assert found[4] == {"name": "000005", "target": "HÄUSER 4!"}
    assert rows(tmp_path / "out/tries.jsonl")[0]["tries"] == ["HÄUSER 0!", "häuser 0!"]
    assert "häuser 3" in (tmp_path / "out/index.html").read_text()
    said = headwater("evaluate", "shout", "--result", tmp_path / "out", "--truth", pairs, "--json")
    assert said.json == {"equal": 1.0, "texts": 5}
    assert headwater("rerun", shouting).code == 0
    assert headwater("rerun", tmp_path / "out", "--json").json["compared"] == 3
    louder = headwater("apply", "shout", *words[:4], "--out", tmp_path / "loud", "--loud", "3")
    assert louder.code == 0
    assert rows(tmp_path / "loud/target.jsonl")[0]["target"] == "HÄUSER 0!!!"
    assert headwater("rerun", tmp_path / "loud").code == 0


def test_bad_rows_are_skipped_and_listed(headwater, pairs, shouting, tmp_path):
    with pairs.open("ab") as file:
        file.write(b'{"source": 3}\n{"sorce": "x"}\n{"source"\n\xff\xfe\n{"name": "ok", "source": "last"}\n')
    words = ["apply", "shout", "--source", pairs, "--fitted", shouting, "--batch", "3", "--out"]
    assert "line 6: 'source' is 3" in headwater(*words, tmp_path / "a").sentence(1)
    assert len(rows(tmp_path / "a/target.jsonl")) == 3
    said = headwater(*words, tmp_path / "b", "--on-error", "skip", "--json")
    assert said.json["items"] == 6
    reasons = json.loads((tmp_path / "b/skipped.json").read_text())
    assert [name for name in reasons] == ["000006", "000007", "000008", "000009"]
    assert "no field 'source'" in reasons["000007"]
    assert "not valid JSON" in reasons["000008"]
    assert "not UTF-8" in reasons["000009"]
    assert rows(tmp_path / "b/target.jsonl")[-1]["name"] == "ok"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", '{"sorce": "x"}\n', "no field 'source' but 'sorce'"),
        ("a.jsonl", '{"source": ["x", "y"]}\n', "has 2 texts called 000001, which would have one"),
        ("a.jsonl", '{"source": ""}\n', "write a text"),
        ("a.jsonl", "[1]\n", "'source' is 1: write a text"),
        ("a.jsonl", "1\n", "no JSON object"),
        ("a.jsonl", '{"name": "../up", "source": "x"}\n', "choose another"),
        ("a.doc", "x", "no source of texts"),
        ("a.jsonl", '{"name": "x", "source": "a"}\n{"name": "x", "source": "b"}\n', "would have one result")
    ],
)  # fmt: skip
def test_wrong_texts_are_one_sentence(headwater, shouting, tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    words = ["--source", tmp_path / name, "--fitted", shouting, "--out", tmp_path / "out"]
    assert said in headwater("apply", "shout", *words).sentence(1)


def test_texts_come_as_lines_folders_fields_and_sets(headwater, shouting, pairs, tmp_path):
    (tmp_path / "lines.txt").write_text("one\n\ntwo\r\n")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/b.txt").write_text("from b\n")
    cases = {
        tmp_path / "lines.txt": [("000001", "ONE!"), ("000003", "TWO!")],
        tmp_path / "texts": [("b", "FROM B!")],
        f"{pairs}:target": [("000001", "HÄUSER 0!!")],
    }
    for number, (where, expected) in enumerate(cases.items()):
        out = tmp_path / f"out{number}"
        assert headwater("apply", "shout", "--source", where, "--fitted", shouting, "--out", out).code == 0
        found = [(row["name"], row["target"]) for row in rows(out / "target.jsonl")]
        assert found[: len(expected)] == expected
    missing = ["--source", tmp_path / "nothing.jsonl", "--fitted", shouting, "--out", tmp_path / "x"]
    assert "--source" in headwater("apply", "shout", *missing).sentence(1)
    assert "needs --source, --fitted, --out" in headwater("apply", "shout").sentence(2)
    assert "'--source'" in headwater("apply", "shout", "--soruce", "x").sentence(2)


def test_a_recipe_fills_nested_settings_and_options_go_before(headwater, pairs, tmp_path):
    (tmp_path / "r.yaml").write_text("loud: 2\ntraining: {batch_size: 3, betas: [0.5, 0.9]}\n")
    words = ["fit", "shout", "--source", pairs, "--target", pairs, "--out", tmp_path / "fit"]
    said = headwater(*words, "--recipe", tmp_path / "r.yaml", "--training.batch-size", "4", "--print-config")
    method = yaml.safe_load(said.out)["method"]
    assert (method["loud"], method["training"]["batch_size"], method["training"]["betas"]) == (
        2,
        4,
        [0.5, 0.9],
    )
    assert (method["training"]["steps"], method["training"]["lr"]) == (7, 0.5)
    for text, fault in [
        ("lud: 2", "unknown key 'lud': did you mean 'loud'"),
        ("training: {stps: 2}", "unknown key 'stps': did you mean 'steps'"),
        ("steps: 2", "it belongs below 'training'"),
        ("training: {steps: many}", "steps is 'many'"),
        ("training: {steps: 0}", "r.yaml"),
    ]:
        (tmp_path / "r.yaml").write_text(text)
        assert fault in headwater(*words, "--recipe", tmp_path / "r.yaml").sentence(2)
    assert "nothing.yaml" in headwater(*words, "--recipe", tmp_path / "nothing.yaml").sentence(1)
    assert "wants a file" in headwater(*words, "--recipe").sentence(2)


def test_nested_settings_keep_the_method_s_own_defaults():
    assert fill(Shout, {"training": {"batch_size": 3}}, "r.yaml").training == dataclasses.replace(
        Shout().training, batch_size=3
    )


def test_a_stopped_fit_goes_on_with_the_same_options_only(headwater, pairs, tmp_path):
    out = tmp_path / "fit"
    words = ["fit", "shout", "--source", pairs, "--target", pairs, "--out", out, "--training.steps", "1"]
    assert "stopped" in headwater(*words).sentence(1)
    (out / "checkpoints/begun").write_text("")
    assert "add --resume to go on" in headwater(*words).sentence(1)
    other = [*words[:-1], "2"]
    fault = headwater(*other, "--resume").sentence(1)
    assert "begun with method.training.steps 1, not 2" in fault
    assert headwater(*words, "--resume").code == 0
    assert (out / "fitted/mark.npy").exists()
    (out / "run.yaml").write_text((out / "run.yaml").read_text().replace("target: shout", "target: paint"))
    assert "holds no fit of shout" in headwater(*words, "--resume").sentence(1)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    for i in range(3):
        lines = [
            f"2020-01-0{d + 1} 00:00,{'' if d == 1 else d + i},{d},{'NW' if d else 'SE'}" for d in range(4)
        ]
        (folder / f"t{i}.csv").write_text("\n".join(["date,pm.25,temp,wind", *lines]) + "\n")
    return folder


def test_series_keep_header_and_time_and_are_drawn(headwater, tables, tmp_path):
    words = ["--series", tables, "--out", tmp_path / "out", "--batch", "2"]
    said = headwater("apply", "mean", *words)
    assert said.code == 0
    left_out = "column wind holds words, not numbers: it is left out"
    assert said.err == f"headwater: t0.csv: {left_out}\nheadwater: the same of 2 more: {left_out}\n"
    assert read_record(tmp_path / "out")["notes"] == [f"t0.csv: {left_out} (and 2 more)"]
    assert "3 series done" in said.out
    found = list(csv.reader((tmp_path / "out/filled/t1.csv").read_text().splitlines()))
    assert found[0] == ["date", "pm.25", "temp"]
    assert found[2] == ["2020-01-02 00:00", repr(8 / 3), "1"]
    assert found[3] == ["2020-01-03 00:00", "3", "2"]
    assert read_table(tmp_path / "out/quantiles/t1.csv").columns[:2] == ("pm.25.q05", "pm.25.q50")
    page = (tmp_path / "out/index.html").read_text()
    assert "pm.25" in page
    assert "filled, q05 to q95" in page
    assert "<svg" in page
    said = headwater(
        "evaluate", "mean", "--result", tmp_path / "out", "--truth", tmp_path / "out/filled", "--json"
    )
    assert said.json == {"mae": 0.0, "series": 3}
    assert headwater("rerun", tmp_path / "out").code == 0
    words = ["--series", tables / "t0.csv", "--out", tmp_path / "b", "--ahead", "2"]
    assert headwater("apply", "mean", *words).code == 0
    assert (tmp_path / "b/filled/t0.csv").read_text().splitlines()[-1].startswith("2020-01-06 00:00,")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("time,a\n", "no rows"),
        ("a,b\n1,2\n", "no time column"),
        ("time,a\n1,2\n2,x\n", "line 3, column a: 'x' is no number"),
        ("time,a\n2,1\n1,1\n3,1\n", "line 3: '1' is not after"),
        ("time,a\n1,1\n1,2\n", "each time once"),
        ("time,a\n1,1\nsoon,2\n", "'soon' is no time"),
        ("time,a\n1,1\n2020-01-01,2\n", "another kind"),
        ("time,a\n1,1,1\n", "line 2, has 3 cells, the header 2"),
        ("time,a,a\n1,1,1\n", "two columns 'a'"),
        ("time,wind\n1,NW\n", "no column of numbers"),
        ("time,a\n1,inf\n", "not finite"),
        ("year,month,day,a\n2020,13,1,4\n", "is no time"),
        ('time,a\n1,"2\n', "no CSV file"),
    ],
)
def test_wrong_series_are_one_sentence(headwater, tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    words = ["apply", "mean", "--series", tmp_path / "t.csv", "--out", tmp_path / "out"]
    found = headwater(*words)
    assert said in found.sentence(1).replace("of another kind", "another kind")
    assert "t.csv" in found.err


def test_series_of_a_folder_are_skipped_one_by_one(headwater, tables, tmp_path):
    (tables / "t1.csv").write_bytes(b"time,a\n\xff\x81\n")
    words = ["apply", "mean", "--series", tables, "--out", tmp_path / "out", "--on-error", "skip", "--json"]
    said = headwater(*words)
    assert said.json["items"] == 2
    assert "not UTF-8" in said.json["skipped"]["t1.csv"]
    (tmp_path / "none").mkdir()
    assert "no .csv" in headwater(
        "apply", "mean", "--series", tmp_path / "none", "--out", tmp_path / "b"
    ).sentence(1)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three slices: two of a multi-coil HDF5 file and one single-coil array of another size."""
    folder = tmp_path / "scans"
    folder.mkdir()
    draw = np.random.default_rng(0)
    pictures = draw.random((2, 1, 6, 8)).repeat(3, 1).astype(np.complex64)
    with h5py.File(folder / "knee.h5", "w") as file:
        file["kspace"] = np.fft.fft2(pictures).astype(np.complex64)
        file["reconstruction_rss"] = (np.abs(pictures) * 1).sum(1) / 3**0.5
    np.save(folder / "head.npy", np.fft.fft2(draw.random((5, 4))).astype(np.complex64))
    return folder


def test_kspace_gives_nifti_and_png(headwater, scans, tmp_path):
    said = headwater("apply", "zero-fill", "--kspace", scans, "--out", tmp_path / "out", "--batch", "2")
    assert said.code == 0, said
    assert "3 slices done" in said.out
    names = sorted(p.name for p in (tmp_path / "out/magnitude").iterdir())
    assert names == [f"{n}.{s}" for n in ("head", "knee-00000", "knee-00001") for s in ("nii.gz", "png")]
    volume = np.asarray(nibabel.load(tmp_path / "out/magnitude/knee-00001.nii.gz").dataobj)
    assert volume.shape == (8, 6, 1)
    with h5py.File(scans / "knee.h5") as file:
        truth = file["reconstruction_rss"][1]
    np.testing.assert_allclose(volume[:, ::-1, 0].T, truth, rtol=1e-5)
    assert np.asarray(Image.open(tmp_path / "out/magnitude/knee-00001.png")).shape == (6, 8)
    words = ["--result", tmp_path / "out", "--truth", scans / "knee.h5", "--json"]
    found = headwater("evaluate", "zero-fill", *words).json
    assert found["slices"] == 2
    assert found["error"] < 1e-5
    assert headwater("rerun", tmp_path / "out").code == 0


def test_a_mask_of_kspace_keeps_its_own_size(headwater, scans, tmp_path):
    np.save(tmp_path / "mask.npy", np.zeros((6, 8), bool))
    words = ["--kspace", scans / "knee.h5", "--mask", tmp_path / "mask.npy", "--out", tmp_path / "out"]
    assert headwater("apply", "zero-fill", *words).code == 0
    assert np.asarray(Image.open(tmp_path / "out/magnitude/knee-00000.png")).max() == 0
    np.save(tmp_path / "mask.npy", np.zeros((6, 8, 3)))
    words[-1] = tmp_path / "b"
    assert "mask.npy has shape (6, 8, 3)" in headwater("apply", "zero-fill", *words).sentence(1)


def test_bad_kspace_is_named_and_skipped(headwater, scans, tmp_path):
    np.save(scans / "real.npy", np.zeros((4, 4)))
    np.save(scans / "many.npy", np.zeros((2, 3, 4, 4), np.complex64))
    np.save(scans / "nan.npy", np.full((4, 4), np.nan, np.complex64))
    (scans / "cut.h5").write_bytes((scans / "knee.h5").read_bytes()[:100])
    with h5py.File(scans / "other.h5", "w") as file:
        file["image"] = np.zeros((2, 4, 4))
    words = [
        "apply",
        "zero-fill",
        "--kspace",
        scans,
        "--out",
        tmp_path / "out",
        "--on-error",
        "skip",
        "--json",
    ]
    found = headwater(*words).json
    assert found["items"] == 3
    said = found["skipped"]
    assert said.keys() == {"real", "many", "nan", "cut", "other"}
    for name, part in {
        "real": "not complex",
        "many": "(2, 3, 4, 4)",
        "nan": "not finite",
        "cut": "HDF5",
        "other": "called kspace",
    }.items():
        assert part in said[name], said[name]
        assert str(scans / name) in said[name]
    one = ["apply", "zero-fill", "--kspace", scans / "many.npy", "--out", tmp_path / "b"]
    assert "--on-error skip" in headwater(*one).sentence(1)
    text = ["apply", "zero-fill", "--kspace", tmp_path / "x.txt", "--out", tmp_path / "b"]
    assert "--kspace" in headwater(*text).sentence(1)
    (tmp_path / "x.txt").write_text("")
    assert "give .npy or" in headwater(*text).sentence(1)


def test_without_nibabel_arrays_are_written_and_it_is_said_once(headwater, scans, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    said = headwater("apply", "zero-fill", "--kspace", scans, "--out", tmp_path / "out", "--batch", "1")
    assert said.code == 0
    assert said.err.count("nibabel is not installed") == 1
    assert np.load(tmp_path / "out/std/head.npy").shape == (5, 4)


def test_captions_pair_with_pictures_and_make_some(headwater, pictures, tmp_path):
    captions = [{"file": f"{'more/' if i == 4 else ''}p{i}.png", "caption": "x" * i or "-"} for i in range(5)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, captions)))
    words = ["--image", pictures, "--caption", tmp_path / "c.jsonl", "--out", tmp_path / "fit"]
    said = headwater("fit", "paint", *words)
    assert said.code == 0, said
    assert json.loads((tmp_path / "fit/fitted/shape.json").read_text()) == [1, 20, 18]
    words = ["--caption", tmp_path / "c.jsonl", "--fitted", tmp_path / "fit", "--out", tmp_path / "out"]
    assert headwater("apply", "paint", *words).code == 0
    with Image.open(tmp_path / "out/image/more/p4.png") as picture:
        assert picture.size == (18, 20)
    said = headwater("evaluate", "paint", "--result", tmp_path / "out", "--truth", pictures, "--json")
    assert said.json["pictures"] == 5
    assert "--prior" in headwater("fit", "paint", *words[:2], "--prior", "digits").sentence(2)


def test_a_shipped_set_gives_pictures_and_captions(headwater, tmp_path):
    words = ["--image", "emoji:test", "--caption", "emoji:test", "--out", tmp_path / "fit", "--json"]
    assert headwater("fit", "paint", *words).json["items"] == 315
    words[3] = "digits:test"
    words[5] = tmp_path / "b"
    assert "digits has no texts" in headwater("fit", "paint", *words).sentence(1)


def test_the_shipped_verses_and_the_shipped_air(headwater, tmp_path):
    words = ["--source", "verses:val", "--target", "verses:val", "--out", tmp_path / "fit", "--json"]
    assert headwater("fit", "shout", *words).json["items"] == 598
    words[1], words[3], words[5] = "verses:val:target", "verses:val:text", tmp_path / "c"
    assert "give verses:val:source or verses:val:target" in headwater("fit", "shout", *words).sentence(1)
    words[1] = "verses:valid"
    words[5] = tmp_path / "b"
    assert "no split 'valid'" in headwater("fit", "shout", *words).sentence(1)
    words = ["--series", "air:val", "--out", tmp_path / "air"]
    assert headwater("apply", "mean", *words).code == 0
    assert len((tmp_path / "air/filled/air-val.csv").read_text().splitlines()) == 8761
    words[1] = "verses"
    assert "--series: verses does not exist" in headwater("apply", "mean", *words).sentence(1)


def test_pictures_of_label_maps_with_instances(headwater, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        maps = rng.integers(0, 3, (8, 8), np.uint8)
        for folder, pixels in (
            ("pictures", rng.integers(0, 255, (8, 8), np.uint8)),
            ("maps", maps),
            ("ids", maps.astype(np.uint16) * 1000 + 26001),
            ("other", np.where(maps == 1, 255, maps).astype(np.uint8)),  # none of class 1, some of no class
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    tiny = ["--network.channel-mult", "1", "--network.attention-resolutions", "1", "--hidden", "8"]
    tiny += ["--network.model-channels", "32", "--network.num-res-blocks", "1", "--T", "30", "--steps", "2"]
    tiny += ["--network.num-head-channels", "32", "--training.steps", "1", "--training.batch-size", "2"]
    given = ["--image", tmp_path / "pictures", "--labels", tmp_path / "maps"]
    fit = ["fit", "sdm", *given, "--instances", tmp_path / "ids", *tiny, "--out", tmp_path / "fit", "--json"]
    assert headwater(*fit).json["items"] == 4
    words = ["apply", "sdm", "--labels", tmp_path / "other", "--fitted", tmp_path / "fit"]
    refused = headwater(*words, "--out", tmp_path / "none")
    assert "give those of these maps too" in refused.sentence(1)
    done = headwater(*words, "--instances", tmp_path / "ids", "--out", tmp_path / "out")
    assert done.code == 0
    assert "holds 255, none of the 3 classes" in done.err
    with Image.open(tmp_path / "out/drawn/0.png") as picture:
        assert picture.size == (8, 8)
    found = headwater(
        "evaluate", "sdm", "--result", tmp_path / "out", "--found", tmp_path / "other", "--json"
    )
    assert found.json["miou"] == 1
