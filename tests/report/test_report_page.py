from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from headwater.errors import UserError
from headwater.report import Classes, Estimate, Heat, Page, Series, Signed

ATTACK = "<script>alert(1)</script>\"' onerror=alert(2) x='"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Outline(HTMLParser):
    """Elements of a page; complains about tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def full_page(word: str) -> Page:
    """A page that uses every block, with `word` wherever a caller can put text."""
    g = torch.Generator().manual_seed(0)
    gray = torch.rand(1, 8, 8, generator=g) * 2 - 1
    rgb = torch.rand(3, 8, 8, generator=g) * 2 - 1
    page = Page(word, word, word)
    page.cover([gray, rgb], [word, word])
    page.highlight(word, Estimate(0.9, 0.01, 3), word)
    s = page.section(word, word)
    s.text(word)
    s.note(word)
    s.claim(word, word, "held")
    s.claim(word, word, "not held")
    s.settings({word: word, "net": {word: [1, 2.5, None]}})
    s.table([word, "a"], [[word, 1.0], ["x", Estimate.of([2.0, 3.0])]], word, {"a": "max"})
    cells = [gray, gray > 0, rgb, Heat(gray[0].abs()), Signed(gray), Classes(gray[0].long(), 3)]
    columns = [word] * len(cells)
    s.pictures(columns, [cells, [None] * 6], [word, word], [[word] * 6] * 2, word)
    s.contact_sheet(torch.stack([rgb, rgb]), 2, [word, word], word)
    s.curve([Series(word, [1, 2], [3, 4], [2, 3], [4, 5])], word, word, word)
    s.histogram({word: [1.0, 2.0, 2.5]}, 4, word, word)
    s.heatmap([[1.0, -2.0]], [word], [word, word], word, word)
    page.provenance(["headwater", word], [0, 1], 65.0, {word: word}, {word: word})
    return page


def test_a_full_page_nests_and_needs_nothing_else() -> None:
    html = full_page("plain words").html()
    outline = Outline(html)
    for tag, attributes in outline.elements:
        assert tag not in {"link", "iframe", "object", "embed", "form", "base"}
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:image/png;base64,", "#"))
    assert "url(" not in html
    assert "@import" not in html
    assert not re.search(r"https?://", html)


@pytest.mark.parametrize("attack", [ATTACK, "</style><img src=x onerror=alert(1)>", "\x00\x1b[2J"])
def test_text_from_file_names_stays_text(attack: str) -> None:
    harmless, attacked = Outline(full_page("w").html()), Outline(full_page(attack).html())
    assert [t for t, _ in attacked.elements] == [t for t, _ in harmless.elements]
    names = [set(a) for _, a in harmless.elements]
    assert [set(a) for _, a in attacked.elements] == names
    assert not any(n.startswith("on") for _, a in attacked.elements for n in a)
    shown = "".join(c if ord(c) >= 32 else "\ufffd" for c in attack)
    assert shown in "".join(attacked.words)


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"scan-\xff\xfe.png")
    page = full_page(name)
    page.write(tmp_path / "page.html")
    page.write_json(tmp_path / "page.json")
    assert "scan-??.png" in (tmp_path / "page.html").read_text(encoding="utf-8")
    json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))


def test_policy_admits_the_page_script_and_no_other() -> None:
    html = full_page("w").html()
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html


def test_pictures_have_words_and_drawings_have_names() -> None:
    outline = Outline(full_page("w").html())
    images = [a for t, a in outline.elements if t == "img"]
    assert len(images) == 2 + 6 + 2
    assert all(a["alt"] for a in images)
    drawings = [a for t, a in outline.elements if t == "svg"]
    assert all(a.get("aria-hidden") == "true" or a.get("aria-label") for a in drawings)
    ids = [a["id"] for _, a in outline.elements if "id" in a]
    assert len(ids) == len(set(ids))
    anchors = {a["href"] for t, a in outline.elements if t == "a"}
    assert anchors <= {f"#{i}" for i in ids}


def test_verdicts_reach_the_header_and_the_json() -> None:
    page = full_page("w")
    header = page.html().split("<main", 1)[0]
    assert "w: held" in header
    assert "w: not held" in header
    assert page.numbers()["verdicts"] == ["held", "not held"]
    with pytest.raises(ValueError, match="held, partly, not held"):
        page.sections[0].claim("a", "b", "great")  # pyright: ignore[reportArgumentType]


def test_json_holds_the_numbers_and_no_picture() -> None:
    page = full_page("w")
    page.sections[0].table(["a", "b"], [[math.nan, math.inf]])
    raw = json.dumps(page.numbers(), allow_nan=False)
    assert "data:image" not in raw
    found = json.loads(raw)
    kinds = [b["kind"] for b in found["sections"][0]["blocks"]]
    assert kinds == [
        *("text", "note", "claim", "claim", "settings", "table", "pictures"),
        *("contact sheet", "curve", "histogram", "heatmap", "table"),
    ]
    assert found["sections"][0]["blocks"][5]["rows"][1][1]["mean"] == 2.5
    assert found["sections"][0]["blocks"][8]["series"][0]["high"] == [4.0, 5.0]
    assert found["provenance"]["command"] == "headwater w"
    assert found["highlights"][0]["shown"] == "0.900 ± 0.010"


def test_the_same_page_is_the_same_bytes(tmp_path: Path) -> None:
    first = full_page("w").write(tmp_path / "deep" / "er" / "a.html").read_bytes()
    assert full_page("w").write(tmp_path / "b.html").read_bytes() == first


def test_a_failed_write_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page.html"
    full_page("old").write(path)
    before = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match="No space"):
        full_page("new").write(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_written_page_can_be_read_by_others(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        path = full_page("w").write(tmp_path / "page.html")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_command_can_be_pasted_into_a_shell() -> None:
    page = Page("t")
    page.provenance(["headwater", "apply", "--out", "my page's folder"])
    assert page.numbers()["provenance"]["command"] == ("headwater apply --out 'my page'\"'\"'s folder'")
