"""U-Net, process, bound, losses and loop with simplex noise against AnoDDPM's reference code.

Same weights, same seeds, same pictures. Ours at timestep t is the reference's at index t - 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from anoddpm_reference import FILES, Tape, denoiser, network
from headwater.controls import Clip
from headwater.core import Ancestral, Denoiser, Prediction, reverse
from headwater.core.likelihood import bound
from headwater.core.transition import Gaussian


@pytest.fixture(params=FILES)
def ref(request: pytest.FixtureRequest, golden: Callable[[str], Any]) -> Any:
    return golden(f"anoddpm/{request.param}")


@torch.no_grad()
def test_network(ref: Any) -> None:
    ours, other = network(ref), network(ref, num_heads=1)
    for t in ref.config["t"]:
        found = ours(ref["in/xt"], torch.tensor([t]))
        torch.testing.assert_close(found, ref[f"out/forward/t{t}"], atol=2e-5, rtol=0)
    # Evaluation in the reference builds a network of one head, whatever was trained.
    lone = other(ref["in/xt"], torch.tensor([5]))
    torch.testing.assert_close(lone, ref["out/forward_loaded_with_1_head/t5"], atol=2e-5, rtol=0)
    counted = ref.config["net"]["n_head_channels"] == -1
    assert ((lone - ref["out/forward/t5"]).abs().max() > 1e-3) == counted


@torch.no_grad()
def test_forward_process(ref: Any) -> None:
    """Ours at timestep t is the reference's at index t - 1."""
    q = denoiser(ref).process
    torch.testing.assert_close(q.alpha[1:].square(), ref["out/alphas_cumprod"], atol=1e-12, rtol=0)
    x0, eps = ref["in/x0"], ref["in/eps"]
    for t in ref.config["t"]:
        torch.testing.assert_close(q.combine(x0, eps, t + 1), ref[f"out/sample_q/t{t}"], atol=2e-6, rtol=0)
        step = q.advance(x0, t, t + 1, lambda like, level: eps)
        torch.testing.assert_close(step, ref[f"out/sample_q_gradual/t{t}"], atol=2e-6, rtol=0)


def clipped(model: Denoiser, x: Tensor, t: int) -> Prediction:
    return Clip().denoised(model(x, t))


def vlb(model: Denoiser, x: Tensor, t: int, x0: Tensor) -> Tensor:
    """The bound with the reference's fixed variance, which is the lower end of the range in the last step."""
    pred = clipped(model, x, t)
    return bound(model.process, replace(pred, fraction=torch.full_like(x, float(t != 1))), x0)


@torch.no_grad()
def test_one_reverse_step(ref: Any) -> None:
    model, x = denoiser(ref), ref["in/xt"]
    for t in ref.config["t"]:
        wanted = ref.under(f"out/p_mean_variance/t{t}")
        pred = clipped(model, x, t + 1)
        torch.testing.assert_close(pred.x0, wanted["pred_x_0"], atol=1e-4, rtol=0)
        dist, _ = Ancestral("large").step(model.process, pred, t)
        assert isinstance(dist, Gaussian)
        torch.testing.assert_close(dist.mean, wanted["mean"], atol=1e-5, rtol=0)
        if t > 0:
            assert float(dist.std) ** 2 == pytest.approx(float(wanted["variance"]), rel=1e-5)


@torch.no_grad()
def test_variational_bound_and_losses(ref: Any) -> None:
    model, x0 = denoiser(ref), ref["in/x0"]
    for t in ref.config["t"]:
        found = vlb(model, model.process.combine(x0, ref["in/eps"], t + 1), t + 1, x0)
        torch.testing.assert_close(found, ref[f"out/vlb_xt/t{t}"], atol=1e-4, rtol=1e-4)
    t, wanted = ref.config["t"][1] + 1, ref.under("out/calc_loss")
    eps = ref["noise/calc_loss_l2/000"]
    torch.testing.assert_close(model.loss(x0, t, eps), wanted["l2/loss"], atol=1e-5, rtol=1e-5)
    eps = ref["noise/calc_loss_hybrid/000"]
    both = vlb(model, model.process.combine(x0, eps, t), t, x0)
    torch.testing.assert_close(both, wanted["hybrid/vlb"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.loss(x0, t, eps) + both, wanted["hybrid/loss"], atol=1e-4, rtol=1e-4)
    eps = Tape(ref.under("noise/calc_loss_simplex").values())(x0, t)
    noised = model.process.combine(x0, eps, t)
    torch.testing.assert_close(noised, wanted["simplex_l2/x_t"], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.loss(x0, t, eps), wanted["simplex_l2/loss"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["simplex_simplex", "simplex_gauss", "gauss_gauss", "whole"])
def test_up_and_back(ref: Any, name: str) -> None:
    """Noised in one go, or step by step, and denoised."""
    level = ref.config["lambda"]
    plan = [0, 1, 2, 3, 2, 1, 0] if name == "whole" else [0, *range(level, -1, -1)]
    tape = Tape(ref.under(f"noise/forward_backward_{name}").values())
    with torch.no_grad():
        steps = list(reverse(denoiser(ref), ref["in/x0"], plan, Ancestral("large"), [Clip()], tape))
    found = torch.stack([ref["in/x0"], *(step.x for step in steps)])
    torch.testing.assert_close(found, ref[f"out/forward_backward/{name}/seq"], atol=1e-4, rtol=0)
