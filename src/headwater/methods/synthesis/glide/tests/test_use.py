"""GLIDE as a person uses it: fit, draw, inpaint, keep, and be told what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from headwater import Run
from headwater import gallery as shipped
from headwater.errors import UserError
from headwater.methods.synthesis.glide import method as glide
from headwater.methods.synthesis.glide.method import Glide
from headwater.methods.synthesis.glide_inpaint.holes import rectangles
from headwater.methods.synthesis.glide_inpaint.method import GlideInpaint
from headwater.methods.synthesis.shared.fitted_glide import FittedGlide, FittedGlideInpaint
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.training import TrainerConfig

QUIET = Run(progress=False)
SMALL = {
    "tokenizer": "word",
    "vocabulary": 20,
    "length": 3,
    "text_width": 8,
    "text_layers": 1,
    "text_heads": 2,
    "network": UNetArchitecture(32, (1,), 1, (1,)),
    "predicts": "v",
    "variance": "fixed",
    "steps": "8",
    "sampler": "ddim",
}
COLOURS = {"red": (0.8, -0.8, -0.8), "blue": (-0.8, -0.8, 0.8)}


def flat() -> tuple[Tensor, list[str]]:
    """Flat pictures 8x8, eight of each colour, and what they are called."""
    texts = [f"a {colour}" for colour in COLOURS for _ in range(8)]
    images = torch.stack([torch.tensor(c)[:, None, None].expand(3, 8, 8) for c in COLOURS.values()])
    return images.repeat_interleave(8, 0), texts


@pytest.fixture(scope="module")
def fitted() -> FittedGlide:
    method = Glide(**SMALL, training=TrainerConfig(120, 8, 3e-3, grad_clip=1.0))
    return method.fit(*flat(), **QUIET)


@pytest.fixture(scope="module")
def method() -> Glide:
    return Glide(**SMALL, guidance_scale=2.0)


def test_drawings_are_what_the_caption_says(fitted: FittedGlide, method: Glide) -> None:
    drawn = method.apply(["a red", "a blue", "a blue", "a red"], fitted, **QUIET)
    assert drawn.shape == (4, 3, 8, 8)
    assert float(drawn.abs().max()) <= 1
    redness = (drawn[:, 0] - drawn[:, 2]).mean((1, 2))
    assert (redness > 0.3).tolist() == [True, False, False, True]
    assert (redness < -0.3).tolist() == [False, True, True, False]


def test_a_drawing_depends_on_seed_place_and_caption_alone(fitted: FittedGlide, method: Glide) -> None:
    texts = ["a red", "a blue", "", "a red", "green"]
    whole = method.apply(texts, fitted, **QUIET)
    parts = method.apply(texts, fitted, **replace(QUIET, batch_size=2))
    torch.testing.assert_close(whole, parts, atol=2e-5, rtol=0)
    assert not torch.allclose(whole[0], whole[3])
    assert not torch.allclose(whole, method.apply(texts, fitted, **replace(QUIET, seed=1)))


def test_a_caption_is_read_once_however_long_the_walk(
    fitted: FittedGlide, method: Glide, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    read: Callable[..., tuple[Tensor, Tensor]] = fitted.network.encode

    def counted(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        rows.append(len(tokens))
        return read(tokens, mask)

    monkeypatch.setattr(fitted.network, "encode", counted, raising=False)
    method.apply(["a red"] * 3 + ["a blue"] * 2, fitted, **replace(QUIET, batch_size=2))
    assert sorted(rows) == [1, 2]  # the empty caption, and the two that differ


def test_guidance_doubles_the_batch_and_not_the_calls(
    fitted: FittedGlide, method: Glide, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    fitted.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    method.apply(["a red"] * 3, fitted, **QUIET)
    assert sizes == [6] * 8
    sizes.clear()
    replace(method, guidance_scale=1.0).apply(["a red"] * 3, fitted, **QUIET)
    assert sizes == [3] * 8


def test_an_empty_caption_asks_for_nothing(fitted: FittedGlide, method: Glide) -> None:
    empty = method.apply([""], fitted, **QUIET)
    torch.testing.assert_close(replace(method, guidance_scale=0.0).apply(["a red"], fitted, **QUIET), empty)
    tokens, mask = fitted.tokens(["", "a red"])
    assert mask.tolist() == [[False] * 3, [True, True, False]]
    assert tokens.shape == (2, 3)


def test_what_ships_goes_by_name(
    fitted: FittedGlide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(shipped.FOLDERS, "fitted", tmp_path)
    with pytest.raises(UserError, match="nothing fitted ships"):
        FittedGlide.from_pretrained("drawings")
    fitted.save_pretrained(tmp_path / "drawings" / "fitted")
    assert FittedGlide.from_pretrained("drawings").shape == (3, 8, 8)
    assert shipped.names("fitted") == ["drawings"]
    assert shipped.run_folder("drawings") == tmp_path / "drawings"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "drawings").mkdir()
    assert shipped.run_folder("drawings") == Path("drawings")  # one's own folder goes first
    (tmp_path / "here" / "drawings").rmdir()
    with pytest.raises(UserError, match="did you mean 'drawings'"):
        FittedGlide.from_pretrained("drawing")


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    how = TrainerConfig(6, 8, 1e-3, checkpoint_every=1e-9)
    whole = Glide(**SMALL, training=how).fit(*flat(), **QUIET)
    kept = replace(QUIET, checkpoint_dir=tmp_path)
    Glide(**SMALL, training=how).fit(*flat(), **kept)
    newest = max(tmp_path.glob("step-*"))
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    again = Glide(**SMALL, training=how).fit(*flat(), **kept)
    for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_inpainting_starts_as_the_base_and_keeps_what_is_given(fitted: FittedGlide, tmp_path: Path) -> None:
    fitted.save_pretrained(tmp_path / "base")
    how = TrainerConfig(1, 16, 1e-9)
    method = GlideInpaint(**SMALL, base=str(tmp_path / "base"), training=how, guidance_scale=2.0)
    images, texts = flat()
    wide = method.fit(images, texts, **QUIET)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([10.0, 900.0])
    told = fitted.encode(["a red", "a blue"])
    known = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    known[..., 3:, 2:] = False
    with torch.no_grad():
        same = wide.network(x, t, image=images[:2], known=known, **told)
        torch.testing.assert_close(same, fitted.network(x, t, **told), atol=1e-5, rtol=0)
    filled = method.apply(images[:2], known, ["a red", "a blue"], wide, **QUIET)
    assert torch.equal(filled.masked_select(known), images[:2].masked_select(known))
    one = method.apply(images[:2], known[:1], ["a red", "a blue"], wide, **replace(QUIET, batch_size=1))
    torch.testing.assert_close(one, filled, atol=2e-5, rtol=0)
    assert method.evaluate(images[:2], images[:2], known)["hole_mse"] == 0


def test_holes_are_rectangles_or_everything() -> None:
    torch.manual_seed(0)
    known = rectangles(torch.zeros(200, 3, 12, 16), 0.3)
    assert known.shape == (200, 1, 12, 16)
    whole = (~known).flatten(1).all(1)
    assert 0.2 < float(whole.double().mean()) < 0.4
    for mask in ~known[~whole][:, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns[None])
        assert 3 <= int(rows.sum()) < 12
        assert 4 <= int(columns.sum()) < 16


def test_evaluation_by_a_judge_trained_on_real_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glide, "train_dual_encoder", partial(glide.train_dual_encoder, steps=30, batch=16))
    images, texts = flat()
    images = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    found = Glide(**SMALL).evaluate(images, texts, images)
    assert found["retrieval"] > 0.9
    assert 0 <= found["diversity"] <= 2


def test_what_is_wrong_is_said(fitted: FittedGlide, method: Glide) -> None:
    images, texts = flat()
    with pytest.raises(UserError, match="16 pictures and 15 captions"):
        method.fit(images, texts[1:], **QUIET)
    with pytest.raises(UserError, match="no captions"):
        method.fit(images[:0], [], **QUIET)
    with pytest.raises(UserError, match="all captions are empty"):
        method.fit(images, [" "] * 16, **QUIET)
    with pytest.raises(UserError, match="no caption to draw"):
        method.apply([], fitted, **QUIET)
    for steps in ("abc", "2000", "ddim600", "0"):
        with pytest.raises(UserError, match="give a number from 1 to 1000, counts per section"):
            replace(method, steps=steps).apply(["a red"], fitted, **QUIET)
    with pytest.raises(UserError, match="caption_dropout is 1"):
        replace(method, caption_dropout=1.0).fit(images, texts, **QUIET)
    inpaint = GlideInpaint(**SMALL)
    wide = FittedGlideInpaint(fitted.network, fitted.config)  # pyright: ignore[reportArgumentType]
    known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(UserError, match="resize them"):
        inpaint.apply(images[..., :4], known, texts, wide, **QUIET)
    with pytest.raises(UserError, match="one caption for each picture"):
        inpaint.apply(images, known, texts[1:], wide, **QUIET)
    with pytest.raises(UserError, match="the mask is"):
        inpaint.apply(images, known.float(), texts, wide, **QUIET)
