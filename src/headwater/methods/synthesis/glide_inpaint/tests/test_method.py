"""GLIDE's inpainting: it starts as its base, holes are rectangles, errors say what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from arrays import Golden, close
from contract.specimens import tiny
from headwater.data.tokenizer import Tokenizer
from headwater.errors import UserError
from headwater.methods.synthesis.glide_inpaint.method import FittedGlideInpaint, GlideInpaint, rectangles
from headwater.sampling import Run
from headwater.training import TrainerConfig

QUIET = Run(progress=False)


def test_it_starts_as_its_base_and_says_what_is_wrong(tmp_path: Path) -> None:
    images, texts = torch.rand(4, 3, 8, 8) * 2 - 1, ["a red", "a blue"] * 2
    fitted = tiny("glide").fit(images, texts, **QUIET)
    fitted.save_pretrained(tmp_path / "base")
    training = TrainerConfig(1, 4, 1e-9)
    method: GlideInpaint = replace(tiny("glide-inpaint"), base=str(tmp_path / "base"), training=training)
    wide = method.fit(images, texts, **QUIET)
    x, t, conditions = torch.randn(2, 3, 8, 8), torch.tensor([2.0, 20.0]), fitted.encode(texts[:2])
    known = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    known[..., 3:, 2:] = False
    with torch.no_grad():
        same = wide.network(x, t, image=images[:2], known=known, **conditions)
        torch.testing.assert_close(same, fitted.network(x, t, **conditions), atol=1e-5, rtol=0)
    filled = method.apply(images[:2], known, texts[:2], wide, **QUIET)
    assert torch.equal(filled.masked_select(known), images[:2].masked_select(known))
    assert method.evaluate(images[:2], images[:2], known)["hole_mse"] == 0

    with pytest.raises(UserError, match="resize them"):
        method.apply(images[..., :4], known[:1], texts, wide, **QUIET)
    with pytest.raises(UserError, match="one caption for each picture"):
        method.apply(images, known[:1], texts[1:], wide, **QUIET)
    with pytest.raises(UserError, match="the mask is"):
        method.apply(images, known[:1].float(), texts, wide, **QUIET)
    with pytest.raises(UserError, match="resize them"):
        method.fit(images[..., :4], texts, **QUIET)
    with pytest.raises(UserError, match="erased is 2"):
        replace(method, erased=2.0).fit(images, texts, **QUIET)


@torch.no_grad()
def test_the_network_equals_the_reference(golden: Callable[[str], Golden], tmp_path: Path) -> None:
    ref = golden("glide/inpaint")
    torch.save(ref.under("w"), tmp_path / "inpaint.pt")
    settings = {"num_heads": ref.config["net"]["heads"], "xf_heads": ref.config["xf_heads"]}
    settings["tokenizer"] = Tokenizer.train(["a caption"], 12, "word")
    network = FittedGlideInpaint.from_published(tmp_path / "inpaint.pt", settings).network
    text = network.encode(ref["in/tokens"], ref["in/mask"])
    given = ref["in/inpaint_image"], ref["in/inpaint_mask"]
    close(network(ref["in/x"], ref["in/t"], *text, *given), ref["out/out"], share=1e-5)


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
