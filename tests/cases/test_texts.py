"""Texts, names and suffixes as people have them: every one is used, or a sentence says which are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Unpack

import pytest
import torch
import yaml

from headwater.data.pictures import UnreadableError
from headwater.data.texts import open_texts
from headwater.errors import UserError
from headwater.methods.base import Images, Labels, Mask, Method, Paper, References, Texts
from headwater.methods.catalogue import METHODS, Entry
from headwater.methods.text.clip_diffusion_lm.method import CLIPDiffusionLM
from headwater.sampling import RunOptions
from text_files import commands, jsonl, picture, write

GIVEN: dict[str, Any] = {}
"""What the made-up methods were last given."""


@dataclass(frozen=True)
class Nothing:
    """What they learn."""

    @classmethod
    def from_pretrained(cls, folder: Path, *, device: str = "cpu") -> Nothing:
        return cls()

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)


@dataclass(frozen=True)
class Captions(Method):
    """Keeps pictures and captions."""

    paper: ClassVar[Paper] = Paper("T", "A", 2020, "0000.00000", "It works.")

    def fit(self, image: Images, text: Texts, **how: Unpack[RunOptions]) -> Nothing:
        GIVEN.update(image=image, text=text)
        return Nothing()

    def apply(self, image: Images, text: Texts, **how: Unpack[RunOptions]) -> Texts:
        GIVEN.update(image=image, text=text)
        return [f"{one}!" for one in text]

    def evaluate(self, said: Texts, truth: References) -> dict[str, float]:
        GIVEN.update(said=said, truth=truth)
        return {"n": float(len(truth))}


@dataclass(frozen=True)
class Rewrites(Captions):
    """Keeps two texts."""

    def fit(self, source: Texts, target: Texts, **how: Unpack[RunOptions]) -> Nothing:  # type: ignore[override]
        GIVEN.update(source=source, target=target)
        return Nothing()


@dataclass(frozen=True)
class Regions(Captions):
    """Keeps pictures and their label maps, or masks."""

    def fit(  # type: ignore[override]
        self, image: Images, labels: Labels | None = None, mask: Mask | None = None, **how: Unpack[RunOptions]
    ) -> Nothing:
        GIVEN.update(image=image, labels=labels, mask=mask)
        return Nothing()


class _Here(Entry):
    def load(self) -> type[Method]:
        return globals()[self.attribute]


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    GIVEN.clear()
    for name in ("Captions", "Rewrites", "Regions"):
        monkeypatch.setitem(METHODS, name.lower(), _Here("test", "", name, "made up"))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Command lines in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    return commands(capfd)


FOUR = [("p0.png", "ä0"), ("p0.png", "ä1"), ("p1.png", "ä2"), ("p1.png", "ä3")]
OTHER = ("./p0.png", ".//p0.png", "./p1.png", ".\\p1.png")
LISTS = {"p0.png": ["ä0", "ä1"], "p1.png": ["ä2", "ä3"]}


def rows(name: str = "file", text: str = "text") -> list[dict[str, str]]:
    return [{name: a, text: b} for a, b in FOUR]


def table(between: str, head: str = "file,text", encoding: str = "utf-8") -> Callable[[str], str]:
    lines = [head.replace(",", between), *(f'{a}{between}"{b}"' for a, b in FOUR)]
    return lambda path: write(path, "\r\n".join(lines), encoding)


COCO = {
    "images": [{"id": 7, "file_name": "p0.png"}, {"id": 9, "file_name": "p1.png"}],
    "annotations": [{"image_id": 7 + 2 * (i > 1), "id": i, "caption": b} for i, (_, b) in enumerate(FOUR)],
}
SEVERAL: dict[str, tuple[str, Callable[[str], str]]] = {
    "rows": ("c.jsonl", lambda p: jsonl(p, rows())),
    "upper case": ("C.JSONL", lambda p: jsonl(p, rows())),
    "names of pictures before ids": (
        "c.jsonl",
        lambda p: jsonl(p, [{"id": i, **row} for i, row in enumerate(rows("file_name"))]),
    ),
    "lists": ("c.jsonl", lambda p: jsonl(p, [{"name": k, "text": v} for k, v in LISTS.items()])),
    "field": ("c.jsonl:captions", lambda p: jsonl(p, [{"name": k, "captions": v} for k, v in LISTS.items()])),
    "utf-16": ("c.jsonl", lambda p: jsonl(p, rows(), "utf-16")),
    "mark": ("c.jsonl", lambda p: jsonl(p, rows(), "utf-8-sig")),
    "other slashes": (
        "c.jsonl",
        lambda p: jsonl(p, [{"name": a, "text": b} for a, (_, b) in zip(OTHER, FOUR, strict=True)]),
    ),
    "a list in .jsonl": ("c.jsonl", lambda p: write(p, json.dumps(rows(), indent=1))),
    "json": ("c.json", lambda p: write(p, json.dumps(rows(), indent=1))),
    "json lines in .json": ("c.json", lambda p: jsonl(p, rows())),
    "name to texts": ("c.json", lambda p: write(p, json.dumps(LISTS))),
    "coco": ("c.json", lambda p: write(p, json.dumps(COCO))),
    "csv": ("c.csv", table(",")),
    "semicolons": ("c.CSV", table(";", encoding="utf-8-sig")),
    "excel": ("c.csv", table(";", encoding="utf-16")),
    "tsv": ("c.tsv", table("\t", "file_name,text")),
    "flickr": ("c.csv:comment", table("|", "image_name, comment")),
    "folder": ("c", lambda p: "".join(write(f"{p}/{k[:2]}.TXT", "\n".join(v)) for k, v in LISTS.items())),
}


@pytest.mark.parametrize("form", SEVERAL)
def test_every_pair_of_a_picture_and_its_texts_is_learnt(run: Any, form: str) -> None:
    where, make = SEVERAL[form]
    for i in range(2):
        picture(f"p/p{i}.png", 255 * i)
    make(where.partition(":")[0])
    said = run("fit", "captions", image="p", text=where)
    assert said.code == 0, said
    assert "fitted on 4 pairs of 2 pictures" in said.out
    assert GIVEN["text"] == ["ä0", "ä1", "ä2", "ä3"]
    assert GIVEN["image"].mean((1, 2, 3)).tolist() == [-1, -1, 1, 1]
    assert ("p0.TXT: has several lines: each is taken for a text of its own" in said.err) == (
        form == "folder"
    )


def test_where_one_text_is_taken_several_are_not_chosen_from(run: Any) -> None:
    picture("p/p0.png")
    picture("p/p1.png")
    jsonl("c.jsonl", rows())
    said = run("apply", "captions", image="p", text="c.jsonl")
    assert "--text has 2 texts for p0.png, and one is taken: keep one" in said.sentence
    said = run("apply", "glide", fitted="glide", text="c.jsonl")
    assert "--text has 2 texts called p0.png, which would have one result: name them apart" in said.sentence


def test_all_references_count(run: Any) -> None:
    picture("p/p0.png")
    picture("p/p1.png")
    jsonl("one.jsonl", [{"file": "p0.png", "text": "a"}, {"file": "p1.png", "text": "b"}])
    assert run("apply", "captions", image="p", text="one.jsonl").code == 0
    write("folder/p0.txt", "ä0\nä1\n")
    write("folder/p1.txt", "ä2\n\nä3")
    jsonl("c.jsonl", rows())
    for truth in ("c.jsonl", "folder"):
        assert run("evaluate", "captions", result="out", truth=truth).code == 0
        assert (GIVEN["said"], GIVEN["truth"]) == (["a!", "b!"], list(LISTS.values()))
    found = CLIPDiffusionLM().evaluate(["red cat", "x"], [["a dog", "red cat"], "x"])
    assert found["word_f1"] == found["exact"] == 1
    with pytest.raises(UserError, match=r"caption\[0\] is a list, not a text"):
        CLIPDiffusionLM().evaluate([["a", "b"]], ["a"])  # type: ignore[list-item]
    with pytest.raises(UserError, match="text is a int: give a list"):
        Captions().apply(torch.zeros(1, 1, 8, 8), 3)  # type: ignore[arg-type]


def test_rows_of_one_name_are_paired_row_by_row(run: Any) -> None:
    many = [{"file": "genesis", "source": f"s{i}", "target": f"t{i}"} for i in range(3)]
    jsonl("c.jsonl", many)
    assert "fitted on 3 texts" in run("fit", "rewrites", source="c.jsonl", target="c.jsonl").out
    assert GIVEN == {"source": ["s0", "s1", "s2"], "target": ["t0", "t1", "t2"]}
    jsonl("d.jsonl", many[:2])
    said = run("fit", "rewrites", source="c.jsonl", target="d.jsonl")
    assert "genesis stands for 3 of --source, 2 of --target: give as many of each, or one" in said.sentence
    jsonl("d.jsonl", many[:1])
    run("fit", "rewrites", source="d.jsonl", target="c.jsonl")
    assert GIVEN == {"source": ["s0"] * 3, "target": ["t0", "t1", "t2"]}


BAD = [
    ("c.jsonl", '{"text": "a"},\n{"text": "b"}', "c.jsonl, line 1 ends in a comma: remove it"),
    ("c.jsonl", '{"file": "p0.png", "caption": "a"}', "no field 'text' but 'file', 'caption': call"),
    ("c.jsonl", '{"text": 5}', "'text' is 5: write a text"),
    ("c.jsonl", '{"text": null}', "'text' is None: write a text"),
    ("c.jsonl", '{"text": "\u200b\ufeff "}', "write a text"),
    ("c.jsonl", '{"text": ["a", 5]}', "'text' is 5: write a text"),
    ("c.json", '[{"text": "a"},\n]', "c.json is not valid JSON (line"),
    ("c.json", '{"file": ["p0.png"], "text": ["a"]}', "is one object with 'file', 'text', not rows"),
    ("c.json", '{"images": [], "annotations": [{"bbox": []}]}', "COCO's captions ('image_id' is missing)"),
    ("c.json", '{"images": [{"filename": "p0.png"}], "dataset": "coco"}', "'images', 'dataset', not rows"),
    ("c.json", "[]", "holds no row"),
    ("c.csv", "p0.png,a\np1.png,b", "no field 'text' but 'p0.png', 'a'"),
    ("c.csv", "file,text\np0.png,a red, round thing", "line 2, has 3 cells, its first line 2: put texts"),
    ("c.csv", "file,text,text\np0.png,a,b", "has two columns called 'text'"),
    ("c.csv", "file,text\n", "has no row below its first line"),
    ("c.txt", "image,caption\np0.png,a\np1.png,b", "names of pictures beside its texts ('p1.png,b')"),
    ("c.txt", "p0.png#0\ta\np1.jpg#1\tb", "call it .csv, or .tsv"),
    ("c.txt", "a\0b\0\n\0", "holds bytes of 0"),
    ("c.parquet", "PAR1", "give a .jsonl, .json, .csv, .tsv or .txt file"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "text", "said"), BAD)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, path: str, text: str, said: str) -> None:
    (tmp_path / path).write_bytes(text.encode())
    with pytest.raises(UnreadableError) as error:
        all_of(tmp_path / path)
    assert said in str(error.value)
    assert path in str(error.value)


def all_of(path: Path) -> list[Any]:
    found = open_texts(path)
    return [found[i] for i in range(len(found))]


def test_lines_of_other_encodings_and_advice_that_works(tmp_path: Path) -> None:
    for i, raw in enumerate(
        ["ä\nb".encode("utf-16"), b"\xc3\xa4\rb\r", "ä\r\n\u200b\r\nb\r\n".encode("utf-8-sig")]
    ):
        (tmp_path / f"{i}.txt").write_bytes(raw)
        found = open_texts(tmp_path / f"{i}.txt")
        assert [found[0], found[1], len(found)] == ["ä", "b", 2]
    (tmp_path / "l.txt").write_bytes("\u201cä\u201d".encode("cp1252"))
    with pytest.raises(UnreadableError, match=r"line 1 is not UTF-8 text: save it as UTF-8"):
        open_texts(tmp_path / "l.txt")[0]
    (tmp_path / "t.tsv").write_text("name\ttext\np0.png#0\ta, b\np0.png#1\tc\n")
    found = open_texts(tmp_path / "t.tsv")
    assert (found.names, found[0], found[1]) == (["p0.png", "p0.png"], "a, b", "c")
    (tmp_path / "prose.txt").write_text("see fig.png, then go on\nand so on\n")
    assert open_texts(tmp_path / "prose.txt")[0] == "see fig.png, then go on"


def test_lines_go_with_pictures_in_order_or_not_at_all(run: Any) -> None:
    for i in range(3):
        picture(f"p/{i:06d}.png", i)
    write("c.txt", "a\nb\nc\n")
    said = run("fit", "captions", image="p", text="c.txt")
    assert GIVEN["text"] == ["a", "b", "c"]  # 000001.png is the second picture, and not that of line 1
    assert (
        "--text: has other names: taken in order, 000000.png with 000001 ... 000002.png with 000003"
        in said.err
    )
    assert "taken in order" in yaml.safe_load(Path("out/run.yaml").read_text())["notes"][0]
    write("c.txt", "a\nb\n")
    said = run("fit", "captions", image="p", text="c.txt")
    assert (
        "--text has 2 texts without names for 3 pictures of --image: give one line for each" in said.sentence
    )
    for i in (1, 2, 10):
        picture(f"q/p{i}.png", i)
    write("c.txt", "a\nb\nc\n")
    said = run("fit", "captions", image="q", text="c.txt")
    assert "their order is not clear: p10.png comes before p2.png by its letters" in said.sentence
    for i in (1, 2, 10):
        (Path("q") / f"p{i}.png").rename(f"q/p{i:02d}.png")
    assert run("fit", "captions", image="q", text="c.txt").code == 0


def test_texts_without_a_picture_are_named(run: Any) -> None:
    picture("p/e\u0301.png")  # as macOS writes it
    jsonl("c.jsonl", [{"file": "\u00e9.png", "text": "a"}, {"file": "x.png", "text": "b"}])
    said = run("fit", "captions", image="p", text="c.jsonl")
    assert GIVEN["text"] == ["a"]
    assert "1 of 2 texts of --text had nothing of --image to go with: 'x.png'" in said.err


def test_a_bare_name_finds_its_folder_only_if_it_is_the_only_one(run: Any) -> None:
    for i, name in enumerate(("a/x", "b/y", "b/z")):
        picture(f"p/{name}.png", 255 * (i == 0))
    picture("l/x.png", 1)
    picture("l/b/y.png", 0)
    said = run("fit", "regions", image="p", labels="l")
    assert GIVEN["labels"][:, 0, 0].tolist() == [1, 0]
    assert "names differ in their folders: paired by the file's own name, a/x.png with x.png" in said.err
    picture("p/b/x.png")
    said = run("fit", "regions", image="p", labels="l")
    assert (
        "--labels: x.png may belong to a/x.png or b/x.png: put both in folders of one name" in said.sentence
    )
    picture("l/a/x.png", 1)  # as advised
    Path("l/x.png").unlink()
    assert run("fit", "regions", image="p", labels="l").code == 0
    assert sorted(GIVEN["labels"][:, 0, 0].tolist()) == [0, 1]
    picture("m/x.png")
    picture("m/x.tif")
    said = run("fit", "regions", image="p", mask="m")
    assert "--mask: x.png and x.tif differ in their suffix alone: rename or remove one" in said.sentence
