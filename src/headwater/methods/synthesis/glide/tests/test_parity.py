"""GLIDE's networks and guided sampling against openai/glide-text2im, number by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from arrays import Golden, close
from closed_form import Tape
from headwater.data.tokenizer import Tokenizer
from headwater.methods.synthesis.glide.method import FittedGlide, Glide


@pytest.fixture
def ref(golden: Callable[[str], Golden]) -> Golden:
    return golden("glide/text2im")


@pytest.fixture
def fitted(ref: Golden, tmp_path: Path) -> FittedGlide:
    """The reference's weights, read as its authors publish them."""
    torch.save(ref.under("w"), tmp_path / "base.pt")
    settings = {"num_heads": ref.config["net"]["heads"], "xf_heads": ref.config["xf_heads"]}
    settings |= {"image_size": 16, "tokenizer": Tokenizer.train(["a caption"], 12, "word")}
    return FittedGlide.from_published(tmp_path / "base.pt", settings)


@torch.no_grad()
def test_text_tower_and_text_to_image(ref: Golden, fitted: FittedGlide) -> None:
    summary, context = fitted.network.encode(ref["in/tokens"], ref["in/mask"])
    close(summary, ref["out/xf_proj"], share=1e-5)
    close(context.mT, ref["out/xf_out"], share=1e-5)
    close(fitted.network(ref["in/x"], ref["in/t"], summary, context), ref["out/out"], share=1e-5)


@pytest.mark.parametrize("kind", ["ddpm", "ddim"])
def test_guided_sampling(
    kind: str, ref: Golden, fitted: FittedGlide, replayed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tokens(self: FittedGlide, text: list[str], **how: Any) -> tuple[torch.Tensor, ...]:
        rows = [0 if caption else 1 for caption in text]
        return ref["in/tokens"][rows], ref["in/mask"][rows]

    monkeypatch.setattr(FittedGlide, "tokens", tokens)
    draws = list(ref.under("noise").values())
    half = len(draws) // 2
    # The reference walks twice the same image, with the caption and without; the first is ours.
    steps = replayed(Tape(draw[:1] for draw in (draws[:half] if kind == "ddpm" else draws[half:])))
    sampler = "ancestral" if kind == "ddpm" else "ddim"
    method = Glide(guidance_scale=ref.config["scale"], steps=ref.config["respacing"], sampler=sampler)
    method.apply(["a caption"], fitted, device="cpu", progress=False)
    assert [step.t for step in steps] == [t + 1 for t in reversed(ref["out/timestep_map"].tolist())]
    close(torch.cat([step.x for step in steps]), ref[f"out/cfg_{kind}"][:, 0], share=1e-4)
