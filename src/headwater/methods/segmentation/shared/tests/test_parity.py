"""SegDiff and implicit ensembles against their reference codes, array by array: networks, schedules, losses,
steps, loops and merged masks.

Timesteps count from 0 = clean here, so the references' index k is timestep k + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arrays import Golden, close
from closed_form import Tape
from headwater.controls import Clip
from headwater.core import DDIM, Ancestral, reverse
from headwater.core.likelihood import model_log_variance
from headwater.core.timesteps import respaced
from headwater.methods.segmentation.implicit_ensembles.method import ImplicitEnsembles
from headwater.methods.segmentation.segdiff.method import SegDiff
from headwater.methods.segmentation.shared.mask_diffusion import merge

# The tolerances that the arrays' README states.
FORWARD, SEGDIFF, LOSS, GRAD, SAMPLE, PRED_X0 = 2e-5, 1e-5, 2e-5, 1e-4, 2e-4, 1e-3
METHODS = {"segdiff": SegDiff(encoder_blocks=1), "implicit-ensembles": ImplicitEnsembles()}


class Case:
    """The reference's arrays, and its small network as `from_published` reads it."""

    def __init__(self, kind: str, golden: Callable[[str], Golden], folder: Path) -> None:
        self.data = golden(f"{kind}/model")
        self.config = self.data.config
        torch.save(self.data.under("w"), folder / "theirs.pt")
        settings = {"image_size": 16, "num_heads": self.config["net"]["num_heads"]}
        settings["diffusion_steps"] = self.config["T"]
        self.method = METHODS[kind]
        self.fitted = self.method.makes.from_published(folder / "theirs.pt", settings)
        self.net, self.denoiser = self.fitted.network, self.fitted.denoiser
        self.features = self.net.encode(self.data["in/image"])
        self.x0 = self.fitted.encode((self.data["in/mask"][:, 0] > 0).long())
        self.plan = respaced(self.config["T"], str(self.config["respacing"]).strip("[]"))

    def loop(self, draws: Sequence[Tensor], variance: Any, *controls: Clip) -> list[Any]:
        """Every step, with the reference's draws, the start first; three chains are of the first image."""
        features = self.features[:1].expand(3, -1, -1, -1) if len(draws[0]) == 3 else self.features
        sampler, tape = Ancestral(variance), Tape(draws[1:])
        return list(reverse(self.denoiser, draws[0], self.plan, sampler, controls, tape, features=features))


@pytest.fixture
def case(request: pytest.FixtureRequest, golden: Callable[[str], Golden], tmp_path: Path) -> Case:
    return Case(request.param, golden, tmp_path)


def of(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", kinds, indirect=True)


@of(*METHODS)
def test_network_and_schedule(case: Case) -> None:
    data, q, T = case.data, case.denoiser.process, case.config["T"]
    net = {k: tuple(v) if isinstance(v, list) else v for k, v in case.config["net"].items()}
    known = {k: v for k, v in net.items() if hasattr(case.method.network, k)}
    method = replace(case.method, T=T, network=replace(case.method.network, **known))
    assert method.sizes(case.fitted.shape, 2) == case.fitted.config
    for k in case.config["t"]:
        out = case.net(data["in/xt"], torch.full((2,), float(k)), features=case.features)
        close(out, data[f"out/forward/t{k}"], FORWARD)
    t = torch.arange(1, T + 1)
    close(q.between(t - 1, t)[1].square(), data["out/betas"], 1e-12)
    assert [t - 1 for t in case.plan[-2::-1]] == data["out/respaced_map"].tolist()
    keep = torch.tensor(case.plan[::-1])
    close(q.between(keep[:-1], keep[1:])[1].square(), data["out/respaced_betas"], 1e-12)
    if "out/rrdb" in data:
        close(case.features, data["out/rrdb"], FORWARD)
    else:
        close(q.log_variances(t, t - 1)[0], data["out/posterior_log_variance_clipped"], 1e-11)


@of("segdiff")
def test_losses_of_segdiff(case: Case) -> None:
    close(case.x0, case.data["in/mask"])
    for k in case.config["loss_t"]:
        out = case.data.under(f"out/training_losses/t{k}")
        mse, bits = case.denoiser.terms(case.x0, k + 1, case.data["in/eps"], features=case.features)
        assert bits is None
        close(mse, out["mse"], rtol=SEGDIFF)
        close(mse * case.x0[0].numel(), out["sum"], rtol=SEGDIFF)
        assert torch.equal(out["sum"], out["loss"])


@of("segdiff")
def test_loop_of_segdiff(case: Case) -> None:
    steps = case.loop(list(case.data.under("noise/p_sample_loop").values()), "large")
    for name, found in (("sample", [s.x for s in steps]), ("pred_xstart", [s.pred.x0 for s in steps])):
        close(torch.stack(found), case.data[f"out/p_sample_loop/{name}"], share=SEGDIFF)
    end = case.loop(list(case.data.under("noise/p_sample_loop_clip").values()), "large", Clip())[-1]
    close(end.x, case.data["out/p_sample_loop_clip/final"], FORWARD)


@of("segdiff")
def test_merge_rule_of_segdiff(case: Case, golden: Callable[[str], Golden]) -> None:
    data, decode = golden("segdiff/metrics"), case.fitted.decode
    raw = data["in/samples"]
    found = merge(decode(raw).clamp(0, 1)[None]).labels
    assert torch.equal(found[:, None].float(), data["out/merged"])
    size = data["out/merged_resized"].shape[-2:]
    resized = decode(F.interpolate(raw, size, mode="bilinear", align_corners=False))
    assert torch.equal(merge(resized.clamp(0, 1)[None]).labels[:, None].float(), data["out/merged_resized"])
    tie = torch.tensor([[0.0, 1.0], [1.0, 1.0]])[None, :, None, None]  # a mean of a half is background
    assert torch.equal(merge(tie).labels[0].float(), data["out/merged_even_tie"])


@of("implicit-ensembles")
def test_losses_and_gradient_of_implicit_ensembles(case: Case) -> None:
    data, eps = case.data, case.data["in/eps"]
    for k in case.config["loss_t"]:
        out = data.under(f"out/training_losses_segmentation/t{k}")
        x = case.denoiser.process.combine(case.x0, eps, k + 1)
        close(x, data[f"out/q_sample/t{k}"], 1e-6)
        mse, bits = case.denoiser.terms(case.x0, k + 1, eps, features=case.features)
        for found, name in ((mse, "mse"), (bits, "vb"), (mse + bits, "loss")):
            close(found, out[name], share=LOSS)
        close(case.net(x, torch.full((2,), k), features=case.features)[:, :1], out["output"], FORWARD)
    k, rescaled = case.config["loss_t"][1], data.under("out/training_losses_segmentation_rescaled")
    close(case.denoiser.loss(case.x0, k + 1, eps, features=case.features), rescaled["loss"], share=LOSS)
    bits = case.denoiser.terms(case.x0, k + 1, eps, features=case.features)[1]
    close(bits * case.config["T"] / 1000, rescaled["vb"], share=LOSS)
    case.net.requires_grad_(True)
    mse, bits = case.denoiser.terms(case.x0, 401, eps, features=case.features)
    (mse + bits).mean().backward()
    for name, value in data.under("out/training_losses_segmentation_grad/t400").items():
        close(case.net.get_parameter(name).grad, value, share=GRAD)


@of("implicit-ensembles")
def test_single_steps_of_implicit_ensembles(case: Case) -> None:
    data, q = case.data, case.denoiser.process
    for k in case.config["t"]:
        pred = Clip().denoised(case.denoiser(data["in/xt"], k + 1, features=case.features))
        stored = data.under(f"out/p_mean_variance/t{k}")
        dist, _ = Ancestral("learned").step(q, pred, k)
        close(dist.mean, stored["mean"], SAMPLE)
        close(model_log_variance(q, pred, k), stored["log_variance"], SAMPLE)
        close(model_log_variance(q, pred, k).exp(), stored["variance"], SAMPLE)
        drawn = dist.sample(Tape([data[f"noise/p_sample_t{k}/000"]]))
        close(drawn, data[f"out/p_sample/t{k}/sample"], SAMPLE)
        for eta in ("0", "0.5"):
            dist, _ = DDIM(float(eta)).step(q, pred, k)
            drawn = dist.sample(Tape([data[f"noise/ddim_sample_t{k}_eta{eta}/000"]]))
            close(drawn, data[f"out/ddim_sample/t{k}_eta{eta}/sample"], SAMPLE)
        names = ("p_mean_variance/t{}", "p_sample/t{}", "ddim_sample/t{}_eta0", "ddim_sample/t{}_eta0.5")
        for name in names:
            close(pred.x0, data[f"out/{name.format(k)}/pred_xstart"], PRED_X0)
    # The reference's DDIM step answers for the picture's channels too; only the mask's is meant.
    every = data["out/ddim_sample_all_channels/t120"]
    close(every[:, -1:], data["out/ddim_sample/t120_eta0/sample"])


@of("implicit-ensembles")
def test_loop_and_ensemble_of_implicit_ensembles(case: Case) -> None:
    data, n = case.data, case.config["ensemble"]
    steps = case.loop(list(data.under("noise/ancestral").values()), "learned", Clip())
    close(torch.stack([s.x for s in steps]), data["out/ancestral/sample"], SAMPLE)
    close(torch.stack([s.pred.x0 for s in steps]), data["out/ancestral/pred_xstart"], PRED_X0)

    # The tape holds one chain after another; here they are one batch.
    draws = torch.cat(list(data.under("noise/ensemble").values())).unflatten(0, (n, 11))
    ends = case.loop(draws.unbind(1), "learned", Clip())[-1].x
    close(ends, data["out/ensemble/samples"], SAMPLE)
    found = merge(case.fitted.decode(ends)[None])
    close(found.mean[0], data["out/ensemble/mean"], SAMPLE)
    close(found.variance[0], data["out/ensemble/variance"], SAMPLE)
    close(found.variance[0] * (n - 1) / n, data["out/ensemble/variance_biased"], SAMPLE)
    assert torch.equal(found.labels[0] > 0, data["out/ensemble/mean"][0] > 0.5)
