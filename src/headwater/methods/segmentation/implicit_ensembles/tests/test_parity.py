"""Implicit ensembles' losses, steps, chain and maps against the reference code, array by array.

Timesteps count from 0 = clean here, so the reference's index k is timestep k + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from closed_form import Tape
from headwater.controls import Clip
from headwater.core import DDIM, Ancestral, reverse
from headwater.core.likelihood import model_log_variance
from headwater.core.timesteps import respaced
from headwater.methods.segmentation.implicit_ensembles.method import (
    FittedImplicitEnsembles,
    ImplicitEnsembles,
)
from headwater.methods.segmentation.shared.mask_diffusion import merge

FORWARD, LOSS, GRAD, SAMPLE, PRED_X0 = 2e-5, 2e-5, 1e-4, 2e-4, 1e-3  # as the arrays' README states


class Case:
    def __init__(self, data: Any) -> None:
        self.data, net = data, data.config["net"]
        method = ImplicitEnsembles(
            T=data.config["T"],
            network=replace(
                ImplicitEnsembles().network,
                model_channels=net["model_channels"],
                channel_mult=tuple(net["channel_mult"]),
                num_res_blocks=net["num_res_blocks"],
                attention_resolutions=tuple(net["attention_resolutions"]),
                num_heads=net["num_heads"],
            ),
        )
        image = data["in/image"]
        self.fitted = FittedImplicitEnsembles.fresh(method.sizes((4, 16, 16), 2), 0)
        self.net = self.fitted.network.eval()
        self.net.load_state_dict(data.under("w"), strict=True)
        self.denoiser, self.image = self.fitted.denoiser, image
        self.x0 = self.fitted.encode((data["in/mask"][:, 0] > 0).long())


@pytest.fixture
def case(golden: Callable[[str], Any]) -> Case:
    return Case(golden("implicit-ensembles/model"))


def close(found: Tensor, stored: Tensor, atol: float = 0.0, relative: float = 0.0) -> None:
    """`relative` counts of the stored array's largest value."""
    atol = max(atol, relative * float(stored.abs().max()))
    torch.testing.assert_close(found.detach().to(stored.dtype), stored, atol=atol, rtol=0)


@torch.no_grad()
def test_network_and_schedule(case: Case) -> None:
    data, q, T = case.data, case.denoiser.process, case.data.config["T"]
    for k in data.config["t"]:
        out = case.net(data["in/xt"], torch.full((2,), k), features=case.image)
        close(out, data[f"out/forward/t{k}"], FORWARD)
    t = torch.arange(1, T + 1)
    close(q.between(t - 1, t)[1].square(), data["out/betas"], 1e-12)
    close(q.log_variances(t, t - 1)[0], data["out/posterior_log_variance_clipped"], 1e-11)
    plan = respaced(T, "10")
    assert [t - 1 for t in plan[-2::-1]] == data["out/respaced_map"].tolist()
    keep = torch.tensor(plan[::-1])
    close(q.between(keep[:-1], keep[1:])[1].square(), data["out/respaced_betas"], 1e-12)


def test_losses_and_gradient(case: Case) -> None:
    data, eps = case.data, case.data["in/eps"]
    for k in data.config["loss_t"]:
        out = data.under(f"out/training_losses_segmentation/t{k}")
        close(case.denoiser.process.combine(case.x0, eps, k + 1), data[f"out/q_sample/t{k}"], 1e-6)
        mse, bits = case.denoiser.terms(case.x0, k + 1, eps, features=case.image)
        close(mse, out["mse"], 0, LOSS)
        close(bits, out["vb"], 0, LOSS)
        close(mse + bits, out["loss"], 0, LOSS)
        x = case.denoiser.process.combine(case.x0, eps, k + 1)
        close(case.net(x, torch.full((2,), k), features=case.image)[:, :1], out["output"], FORWARD)
    k = data.config["loss_t"][1]
    rescaled = case.denoiser.loss(case.x0, k + 1, eps, features=case.image)
    close(rescaled, data["out/training_losses_segmentation_rescaled/loss"], 0, LOSS)
    bits = case.denoiser.terms(case.x0, k + 1, eps, features=case.image)[1]
    close(bits * case.fitted.config.T / 1000, data["out/training_losses_segmentation_rescaled/vb"], 0, LOSS)
    stored = data.under("out/training_losses_segmentation_grad/t400")
    mse, bits = case.denoiser.terms(case.x0, 401, eps, features=case.image)
    (mse + bits).mean().backward()
    for name, value in stored.items():
        close(case.net.get_parameter(name).grad, value, 0, GRAD)


@torch.no_grad()
def test_single_steps(case: Case) -> None:
    data, q = case.data, case.denoiser.process
    for k in data.config["t"]:
        pred = Clip().denoised(case.denoiser(data["in/xt"], k + 1, features=case.image))
        stored = data.under(f"out/p_mean_variance/t{k}")
        dist, _ = Ancestral("learned").step(q, pred, k)
        close(pred.x0, stored["pred_xstart"], PRED_X0)
        close(dist.mean, stored["mean"], SAMPLE)
        close(model_log_variance(q, pred, k), stored["log_variance"], SAMPLE)
        close(model_log_variance(q, pred, k).exp(), stored["variance"], SAMPLE)
        close(
            dist.sample(Tape([data[f"noise/p_sample_t{k}/000"]])), data[f"out/p_sample/t{k}/sample"], SAMPLE
        )
        close(pred.x0, data[f"out/p_sample/t{k}/pred_xstart"], PRED_X0)
        for eta in ("0", "0.5"):
            name = f"ddim_sample/t{k}_eta{eta}"
            dist, _ = DDIM(float(eta)).step(q, pred, k)
            drawn = dist.sample(Tape([data[f"noise/ddim_sample_t{k}_eta{eta}/000"]]))
            close(drawn, data[f"out/{name}/sample"], SAMPLE)
            close(pred.x0, data[f"out/{name}/pred_xstart"], PRED_X0)
    # The reference's DDIM step answers for the picture's channels too; only the mask's is meant.
    every = data["out/ddim_sample_all_channels/t120"]
    close(every[:, -1:], data["out/ddim_sample/t120_eta0/sample"])


@torch.no_grad()
def test_loop_and_ensemble(case: Case) -> None:
    data, plan = case.data, respaced(case.data.config["T"], "10")

    def loop(draws: list[Tensor], image: Tensor) -> list[Any]:
        sampler = Ancestral("learned")
        return list(
            reverse(case.denoiser, draws[0], plan, sampler, [Clip()], Tape(draws[1:]), features=image)
        )

    steps = loop(list(data.under("noise/ancestral").values()), case.image)
    close(torch.stack([s.x for s in steps]), data["out/ancestral/sample"], SAMPLE)
    close(torch.stack([s.pred.x0 for s in steps]), data["out/ancestral/pred_xstart"], PRED_X0)

    # The tape holds one chain after another; here they are one batch.
    draws = torch.cat(list(data.under("noise/ensemble").values())).unflatten(0, (3, 11))
    n = data.config["ensemble"]
    ends = loop(list(draws.unbind(1)), case.image[:1].expand(n, -1, -1, -1))[-1].x
    close(ends, data["out/ensemble/samples"], SAMPLE)
    found = merge(case.fitted.decode(ends)[None])
    close(found.mean[0], data["out/ensemble/mean"], SAMPLE)
    close(found.variance[0], data["out/ensemble/variance"], SAMPLE)
    close(found.variance[0] * (n - 1) / n, data["out/ensemble/variance_biased"], SAMPLE)
    assert torch.equal(found.labels[0] > 0, data["out/ensemble/mean"][0] > 0.5)
