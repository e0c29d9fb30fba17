from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from headwater.report import Classes, Estimate, Heat, Page, Section, Series, Signed
from headwater.report.axes import Scale, extent, tick_label
from headwater.report.blocks import Numbering
from headwater.report.colour import categorical, diverging, reads_dark, sequential, srgb
from headwater.report.markup import number
from headwater.report.picture import picture, pixels


def html(section: Section) -> str:
    return "".join(block.body(Numbering()) for block in section.blocks)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (-3, "−3"),
        (0.9731, "0.973"),
        (27.345, "27.34"),
        (1234.5, "1,234"),
        (0.0123, "0.0123"),
        (-1.24e-5, "−1.2×10⁻⁵"),
        (0.0, "0"),
        (math.nan, "n/a"),
        (-math.inf, "−∞"),
        (True, "yes"),
        (Estimate(21.309, 0.42), "21.31 ± 0.42"),
        (Estimate(2e-5, 1e-6), "2.0×10⁻⁵ ± 1.0×10⁻⁶"),
        ("words", "words"),
    ],
)
def test_numbers_for_the_eye(value: object, shown: str) -> None:
    assert number(value) == shown


def test_small_numbers_never_round_to_nothing() -> None:
    assert number(3e-5, 3) == "3.0×10⁻⁵"
    assert number(0.0, 3) == "0.000"


def test_estimate_uses_the_sample_deviation() -> None:
    found = Estimate.of([1.0, 2.0, 4.0])
    assert (found.mean, found.n) == (pytest.approx(7 / 3), 3)
    assert found.sd == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert Estimate.of([5.0]).sd == 0.0
    with pytest.raises(ValueError, match="at least one"):
        Estimate.of([])


def test_table_marks_the_best_of_a_column_and_aligns_decimals() -> None:
    s = Section("s")
    rows = [["a", 0.5, Estimate(3.0, 0.1, 3)], ["b", 0.25, Estimate(2.0, 0.2, 3)], ["c", None, 9.0]]
    s.table(["m", "up", "down"], rows, best={"up": "max", "down": "min"})
    out = html(s)
    assert re.findall(r"<strong>(.*?)</strong>", out) == ["0.500", "2.000 ± 0.200"]
    assert "0.250" in out
    assert "9.000" in out
    assert "(higher is better)" in out
    assert "(lower is better)" in out


def test_table_refuses_ragged_rows_and_unknown_columns() -> None:
    s = Section("s")
    with pytest.raises(ValueError, match="2 cells"):
        s.table(["a", "b"], [[1]])
    with pytest.raises(ValueError, match="Name columns"):
        s.table(["a", "b"], [[1, 2]], best={"c": "max"})


def decoded(cell: object) -> np.ndarray:
    uri = picture(cell).uri  # pyright: ignore[reportArgumentType]
    raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(raw)))


def test_images_survive_encoding() -> None:
    gray = torch.tensor([[[-1.0, 0.0, 1.0], [-9.0, 9.0, math.nan]]])
    np.testing.assert_array_equal(decoded(gray), [[0, 128, 255], [0, 255, 128]])
    rgb = torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1)
    np.testing.assert_array_equal(decoded(rgb), [[[255, 0, 128]]])
    np.testing.assert_array_equal(decoded(torch.tensor([[True, False]])), [[255, 0]])
    np.testing.assert_array_equal(decoded(torch.tensor([[[7, 9]]], dtype=torch.uint8)), [[7, 9]])


def test_maps_use_the_whole_table_between_their_limits() -> None:
    values = torch.tensor([[0.0, 0.5, 1.0, 2.0]])
    table = sequential()
    np.testing.assert_array_equal(pixels(Heat(values))[0], table[[0, 64, 128, 255]])
    np.testing.assert_array_equal(pixels(Heat(values, high=1.0))[0], table[[0, 128, 255, 255]])
    np.testing.assert_array_equal(pixels(Heat(torch.zeros(1, 2)))[0], table[[0, 0]])
    signed = pixels(Signed(torch.tensor([[-2.0, 0.0, 1.0]])))[0]
    np.testing.assert_array_equal(signed, diverging()[[0, 128, 191]])
    labels = pixels(Classes(torch.tensor([[0, 2, -1]]), 3))[0]
    np.testing.assert_array_equal(labels, [*categorical(3)[[0, 2]], [0, 0, 0]])


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1,H,W\) or \(3,H,W\)"):
        picture(torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="Classes"):
        picture(torch.zeros(1, 4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="map of shape"):
        picture(Heat(torch.zeros(3, 4, 4)))


def test_picture_grids_check_their_shape_and_describe_cells() -> None:
    s, image = Section("s"), torch.zeros(1, 4, 4)
    s.pictures(["in", "out"], [[image, None]], ["cat"])
    s.pictures({"in": image[None], "out": [None]}, row_labels=["cat"])
    assert s.blocks[-1] == s.blocks[-2]
    assert 'alt="cat: in"' in html(s)
    with pytest.raises(ValueError, match="2 cells"):
        s.pictures(["in", "out"], [[image]])
    with pytest.raises(ValueError, match="row labels"):
        s.pictures(["in"], [[image]], ["a", "b"])
    with pytest.raises(ValueError, match="same rows"):
        s.pictures(["in"], [[image]], captions=[["a", "b"]])


def _luminance(table: np.ndarray) -> np.ndarray:
    coded = table / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def test_colour_tables_are_ordered_by_lightness() -> None:
    rising = _luminance(sequential())
    assert (np.diff(rising) > -2e-3).all()
    assert rising[0] < 0.02
    assert rising[-1] > 0.8
    halves = _luminance(diverging())
    assert halves[127:129].min() > 0.85
    np.testing.assert_allclose(halves[:100:20], halves[::-1][:100:20], atol=0.06)
    assert len(np.unique(categorical(28), axis=0)) == 28


def test_colours_that_screens_lack_give_up_chroma_and_keep_lightness() -> None:
    vivid = srgb(np.array([[0.9, 0.4, 250.0], [0.9, 0.0, 250.0]]))
    blue, gray = _luminance(vivid)
    assert vivid[0, 2] > vivid[0, 0]
    assert blue == pytest.approx(gray, abs=0.03)


def test_oklch_of_known_colours() -> None:
    known = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.627955, 0.257683, 29.2339]])
    np.testing.assert_array_equal(srgb(known), [[255, 255, 255], [0, 0, 0], [255, 0, 0]])
    assert reads_dark(np.array([20, 20, 60], np.uint8))
    assert not reads_dark(np.array([240, 230, 120], np.uint8))


def test_scales_and_ticks() -> None:
    scale = Scale(0.0, 10.0, 100.0, 0.0)
    assert scale(2.5) == 75.0
    assert scale.ticks(5) == [0, 2, 4, 6, 8, 10]
    log = Scale(1e-4, 1.0, 0.0, 40.0, "log")
    assert log(1e-2) == pytest.approx(20.0)
    assert log.ticks(4) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert extent([1.0, math.nan, 3.0], "linear", 0.0) == (1.0, 3.0)
    low, high = extent([0.0, 5.0, -1.0], "log")
    assert 0 < low < 5.0 < high
    assert extent([], "linear") == (0.0, 1.0)
    ticks = [0.0, 2.5, 5.0]
    assert [tick_label(t, ticks) for t in ticks] == ["0.0", "2.5", "5.0"]


def test_curves_leave_gaps_and_stay_inside_the_drawing() -> None:
    s = Section("s")
    x = [1, 2, 3, 4]
    s.curve({"a": (x, [1.0, math.nan, 2.0, 3.0]), "b": (x, [0.0, 1e-3, 10.0, 5.0])}, y_axis="log")
    out = html(s)
    assert "nan" not in out
    assert "inf" not in out
    first = re.findall(r'class="line s0" d="([^"]+)"', out)[-1]
    assert first.count("M") == 2
    # Zero has no place on a log axis: that point is left out.
    second = re.findall(r'class="line s1" d="([^"]+)"', out)[-1]
    points = [tuple(map(float, p.split())) for p in re.split("[ML]", second) if p]
    assert len(points) == 3
    assert all(0 <= u <= 360 and 0 <= v <= 280 for u, v in points)


def test_series_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match="one length"):
        Series("a", [1, 2], [1])
    with pytest.raises(ValueError, match="both low and high"):
        Series("a", [1], [1], low=[0])


def test_histogram_shares_add_up_and_share_their_bins() -> None:
    s = Section("s")
    s.histogram({"a": torch.randn(50), "b": [0.0, math.nan, 9.0]}, bins=7)
    found = s.numbers()["blocks"][0]
    assert len(found["edges"]) == 8
    assert sum(found["groups"]["a"]) == pytest.approx(1.0)
    assert sum(found["groups"]["b"]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="finite"):
        s.histogram({"a": [math.nan]})


def test_heatmap_labels_fit_and_text_can_be_read() -> None:
    s = Section("s")
    s.heatmap(torch.tensor([[0.0, 1.0]]), ["r"], ["c", "d"])
    out = html(s)
    assert "color:#fff" in out
    assert "color:#111" in out
    with pytest.raises(ValueError, match="one label per row"):
        s.heatmap([[1.0]], ["r"], ["c", "d"])


def test_an_empty_page_is_a_page() -> None:
    assert Page("t").html().startswith("<!doctype html>")


def test_every_block_of_nothing_still_renders() -> None:
    s = Section("s")
    s.table(["a"], [])
    s.curve({"a": ([], [])})
    s.curve({"a": ([1.0], [2.0])})
    s.settings({})
    s.heatmap([], [], [])
    assert "nan" not in html(s)
