"""Texts of the user's own: only what is asked for is read."""

from __future__ import annotations

import json

import pytest

from headwater.data.pictures import Limits, UnreadableError
from headwater.data.texts import open_texts


def test_rows_are_found_whatever_their_length_and_order(tmp_path):
    rows = [{"id": i, "text": "ü" * i + "x"} for i in range(50)]
    (tmp_path / "t.jsonl").write_text("\n\n".join(json.dumps(r, ensure_ascii=False) for r in rows), "utf-8")
    found = open_texts(tmp_path / "t.jsonl")
    assert found.names == [str(i) for i in range(50)]
    assert [found[i] for i in (49, 0, 7)] == [rows[i]["text"] for i in (49, 0, 7)]


def test_a_field_is_chosen_by_the_first_name_that_fits(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": "1", "b": "2", "text": "3"}\n')
    assert open_texts(path, ("z", "b"))[0] == "2"
    assert open_texts(path)[0] == "3"
    assert open_texts(f"{path}:a", ("b",))[0] == "1"
    with pytest.raises(UnreadableError, match=r"no field 'z' but 'a', 'b', 'text'"):
        open_texts(path, ("z",))
    with pytest.raises(UnreadableError, match="no field 'c'"):
        open_texts(f"{path}:c")


def test_results_may_be_lists_or_empty(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": ["a", "b"]}\n{"text": ""}\n')
    assert open_texts(tmp_path / "t.jsonl", results=True)[0] == ["a", "b"]
    assert open_texts(tmp_path / "t.jsonl", results=True)[1] == ""
    found = open_texts(tmp_path / "t.jsonl")
    assert [found.names, found[0], found[1]] == [["000001", "000001", "000002"], "a", "b"]
    with pytest.raises(UnreadableError, match="write a text"):
        found[2]


def test_limits(tmp_path):
    (tmp_path / "t.txt").write_text("x" * (2 << 20))
    with pytest.raises(UnreadableError, match="line 1 is longer"):
        open_texts(tmp_path / "t.txt")[0]
    with pytest.raises(UnreadableError, match="split it"):
        open_texts(tmp_path / "t.txt", limits=Limits(array_bytes=100))


def test_a_damaged_first_row_does_not_hide_the_rest(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text"\n{"text": "fine"}\n')
    found = open_texts(tmp_path / "t.jsonl")
    assert found[1] == "fine"
    with pytest.raises(UnreadableError, match="line 1 is not valid JSON"):
        found[0]
    (tmp_path / "t.jsonl").write_text("[" * 100_000 + "\n")
    with pytest.raises(UnreadableError, match="not valid JSON"):
        open_texts(tmp_path / "t.jsonl")[0]
