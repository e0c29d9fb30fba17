"""The shipped verses and the shipped air: aligned, split without leaks, with their real gaps."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.data import load, shipped
from headwater.data.rows import AIR


def books(split: str) -> set[str]:
    return {name.rpartition(" ")[0] for name in load("verses", split).names}


def test_verses_are_split_by_book():
    found = {split: books(split) for split in shipped.splits("verses")}
    assert list(found) == ["train", "val", "test"]
    assert found["test"] == {"Ruth", "Job", "Jonah", "Galatians", "James"}
    assert found["val"] == {"Esther", "Ecclesiastes", "Philippians", "1 Peter"}
    assert len(found["train"]) == 57
    assert not found["train"] & (found["val"] | found["test"])
    sizes = {split: len(load("verses", split)) for split in found}
    assert sizes == shipped.manifest()["verses"]["splits"]


def test_verses_are_aligned_and_plain():
    found = load("verses", "test")
    row = found.names.index("Jonah 1:17")
    assert "great fish to swallow up Jonah" in found.source[row]
    assert found.target[row].startswith("Yahweh prepared a great fish to swallow up Jonah")
    letters = set("".join(load("verses").source))
    assert len(letters) < 80
    assert not letters & set("[]\n\t—’")
    for side in (found.source, found.target):
        assert all(text == " ".join(text.split()) != "" for text in side)


def test_pairs_are_chosen_together():
    found = load("verses", "val")
    short = found.within(32)
    assert len(short) == 428
    assert max(len(text.split()) for text in [*short.source, *short.target]) == 32
    one = short.select([3])
    assert (one.source, one.target, one.names) == ([short.source[3]], [short.target[3]], [short.names[3]])


def test_the_air_of_the_splits_follows_on():
    parts = [load("air", split) for split in shipped.splits("air")]
    assert [len(part) for part in parts] == list(shipped.manifest()["air"]["splits"].values())
    assert np.array_equal(np.concatenate([part.times for part in parts]), np.arange(43_824))
    for part, first, last in zip(parts, (2010, 2013, 2014), (2012, 2013, 2014), strict=True):
        assert (part.stamps[0], part.stamps[-1]) == (f"{first}-01-01 00:00", f"{last}-12-31 23:00")
        assert part.columns == AIR
        assert part.times[0] % 24 == 0


def test_the_air_has_the_gaps_that_were_measured_and_no_others():
    values = np.concatenate([load("air", split).values for split in shipped.splits("air")])
    assert np.isnan(values).sum(0).tolist() == [2067, 0, 0, 0, 0, 0, 0, 0, 0]
    assert np.nanmax(values[:, 0]) == 994
    assert values[0].tolist()[1:] == [-21, -11, 1021, 1.79, 0, 0, 1, -1]
    fractions = values[:, 2][values[:, 2] % 1 != 0]
    assert fractions.tolist() == [14.66666667, 9.333333333]
    winds = {(north, east) for north, east in values[:, 7:].tolist()}
    assert winds == {(1, 1), (1, -1), (-1, 1), (0, 0)}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: load("verses", "valid"), "no split 'valid': choose one of train, val, test"),
        (lambda: load("verses", "val", 32), "holds no pictures"),
        (lambda: load("air", "test", augmented=3), "holds no pictures"),
        (lambda: load("vreses"), "choose one of digits, .*verses, air"),
    ],
)
def test_wrong_requests_are_explained(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
