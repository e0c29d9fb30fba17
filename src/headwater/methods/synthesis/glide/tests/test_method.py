"""GLIDE's own: captions decide, are read once, and guidance costs no further call; the claim's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contract.specimens import tiny
from headwater.errors import UserError
from headwater.methods.synthesis.glide import claim
from headwater.methods.synthesis.glide.method import FittedGlide, Glide
from headwater.sampling import Run
from headwater.training import TrainerConfig

QUIET = Run(progress=False)
METHOD: Glide = replace(
    tiny("glide"), length=3, T=1000, predicts="v", variance="fixed", guidance_scale=2.0, steps="8",
    sampler="ddim", training=TrainerConfig(120, 8, 3e-3, grad_clip=1.0),
)  # fmt: skip
COLOURS = {"red": (0.8, -0.8, -0.8), "blue": (-0.8, -0.8, 0.8)}


def flat() -> tuple[Tensor, list[str]]:
    """Flat images 8 x 8, eight of each colour, and what they are called."""
    texts = [f"a {colour}" for colour in COLOURS for _ in range(8)]
    images = torch.stack([torch.tensor(c)[:, None, None].expand(3, 8, 8) for c in COLOURS.values()])
    return images.repeat_interleave(8, 0), texts


@pytest.fixture(scope="module")
def fitted() -> FittedGlide:
    return METHOD.fit(*flat(), **QUIET)


def test_images_are_what_the_caption_says(fitted: FittedGlide) -> None:
    drawn = METHOD.apply(["a red", "a blue", "a blue", "a red"], fitted, **QUIET)
    assert float(drawn.abs().max()) <= 1
    redness = (drawn[:, 0] - drawn[:, 2]).mean((1, 2))
    assert (redness > 0.3).tolist() == [True, False, False, True]
    assert (redness < -0.3).tolist() == [False, True, True, False]
    assert not torch.allclose(drawn[0], drawn[3])


def test_a_caption_is_read_once_and_guidance_doubles_the_batch_not_the_calls(
    fitted: FittedGlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    sizes: list[int] = []
    read: Callable[..., tuple[Tensor, Tensor]] = fitted.network.encode

    def counted(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        rows.append(len(tokens))
        return read(tokens, mask)

    monkeypatch.setattr(fitted.network, "encode", counted, raising=False)
    hook = fitted.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    METHOD.apply(["a red"] * 3 + ["a blue"] * 3, fitted, **replace(QUIET, batch_size=3))
    assert sorted(rows) == [1, 2]  # the empty caption, and the two that differ
    assert sizes == [6] * 16
    sizes.clear()
    replace(METHOD, guidance_scale=1.0).apply(["a red"] * 3, fitted, **QUIET)
    assert sizes == [3] * 8
    hook.remove()


def test_an_empty_caption_asks_for_nothing(fitted: FittedGlide) -> None:
    empty = METHOD.apply([""], fitted, **QUIET)
    torch.testing.assert_close(replace(METHOD, guidance_scale=0.0).apply(["a red"], fitted, **QUIET), empty)
    tokens, mask = fitted.tokens(["", "a red"])
    assert mask.tolist() == [[False] * 3, [True, True, False]]
    assert tokens.shape == (2, 3)


def test_it_goes_on_from_a_fitted_one(fitted: FittedGlide, tmp_path: Path) -> None:
    images, texts = flat()
    fitted.save_pretrained(tmp_path / "base")
    still = TrainerConfig(1, 4, 1e-12)
    method = replace(METHOD, base=str(tmp_path / "base"), tokenizer="bpe", text_width=7, training=still)
    same = method.fit(images, texts, **QUIET)  # sizes and words are those of the base
    torch.testing.assert_close(
        METHOD.apply(["a red"], same, **QUIET), METHOD.apply(["a red"], fitted, **QUIET)
    )
    with pytest.raises(UserError, match="resize them"):
        method.fit(images[..., :4], texts, **QUIET)


def test_what_is_wrong_is_said(fitted: FittedGlide) -> None:
    images, texts = flat()
    with pytest.raises(UserError, match="16 pictures and 15 captions"):
        METHOD.fit(images, texts[1:], **QUIET)
    for some, captions in ((images[:0], []), (images, [" "] * 16)):
        with pytest.raises(UserError, match="no captions to learn from"):
            METHOD.fit(some, captions, **QUIET)
    with pytest.raises(UserError, match="caption_dropout is 1"):
        replace(METHOD, caption_dropout=1.0).fit(images, texts, **QUIET)
    with pytest.raises(UserError, match="give a number from 1 to 1000, counts per section"):
        replace(METHOD, steps="2000").apply(["a red"], fitted, **QUIET)


def test_new_combinations_are_new_and_of_known_words() -> None:
    train = ["red heart", "blue circle", "cat face"]
    test = ["blue heart", "red heart", "blue heart", "red dog", "face", ""]
    assert claim.new_combinations(train, test) == ["blue heart", "face"]
