"""SegDiff's network, losses, chain, merge rule and metrics against its reference code, array by array.

Timesteps count from 0 = clean here, so the reference's index k is timestep k + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from closed_form import Tape
from headwater.controls import Clip
from headwater.core import Ancestral, reverse
from headwater.core.timesteps import respaced
from headwater.methods.segmentation.segdiff.method import FittedSegDiff, SegDiff
from headwater.methods.segmentation.shared.mask_diffusion import merge
from headwater.metrics.mask_agreement import (
    area_ratio,
    boundary_f1_over_tolerances,
    jaccard,
    weighted_coverage,
)
from headwater.metrics.segmentation import dice

FORWARD, LOSS, LOOP = 2e-5, 1e-5, 1e-5  # the tolerances that the arrays' README states


class Case:
    def __init__(self, data: Any) -> None:
        self.data, net = data, data.config["net"]
        method = SegDiff(
            T=data.config["T"],
            encoder_blocks=net["rrdb_blocks"],
            network=replace(
                SegDiff().network,
                model_channels=net["model_channels"],
                channel_mult=tuple(net["channel_mult"]),
                num_res_blocks=net["num_res_blocks"],
                attention_resolutions=tuple(net["attention_resolutions"]),
                num_heads=net["num_heads"],
            ),
        )
        self.fitted = FittedSegDiff.fresh(method.sizes((3, 16, 16), 2), 0)
        self.net = self.fitted.network.eval().requires_grad_(False)
        self.net.load_state_dict(data.under("w"), strict=True)
        self.features = self.net.encode(data["in/image"])


@pytest.fixture
def case(golden: Callable[[str], Any]) -> Case:
    return Case(golden("segdiff/model"))


def close(found: Tensor, stored: Tensor, atol: float = 0.0, rtol: float = 0.0) -> None:
    torch.testing.assert_close(found.to(stored.dtype), stored, atol=atol, rtol=rtol)


def test_network(case: Case) -> None:
    close(case.features, case.data["out/rrdb"], FORWARD)
    for k in case.data.config["t"]:
        out = case.net(case.data["in/xt"], torch.full((2,), float(k)), features=case.features)
        close(out, case.data[f"out/forward/t{k}"], FORWARD)


def test_schedule(case: Case) -> None:
    q, T = case.fitted.denoiser.process, case.data.config["T"]
    t = torch.arange(1, T + 1)
    close(q.between(t - 1, t)[1].square(), case.data["out/betas"], 1e-12, 1e-12)
    plan = respaced(T, case.data.config["respacing"])
    assert [t - 1 for t in plan[-2::-1]] == case.data["out/respaced_map"].tolist()
    keep = torch.tensor(plan[::-1])
    close(q.between(keep[:-1], keep[1:])[1].square(), case.data["out/respaced_betas"], 1e-12, 1e-12)


def test_losses(case: Case) -> None:
    x0, eps = case.data["in/mask"], case.data["in/eps"]
    labels = (x0[:, 0] > 0).long()
    close(case.fitted.encode(labels), x0)
    for k in case.data.config["loss_t"]:
        out = case.data.under(f"out/training_losses/t{k}")
        mse, bits = case.fitted.denoiser.terms(x0, k + 1, eps, features=case.features)
        assert bits is None
        close(mse, out["mse"], 0, LOSS)
        close(mse * x0[0].numel(), out["sum"], 0, LOSS)
        assert torch.equal(out["sum"], out["loss"])


def test_loop(case: Case) -> None:
    draws = list(case.data.under("noise/p_sample_loop").values())
    plan = respaced(case.data.config["T"], case.data.config["respacing"])
    steps = list(
        reverse(
            case.fitted.denoiser, draws[0], plan, Ancestral("large"), (), Tape(draws[1:]),
            features=case.features,
        )
    )  # fmt: skip
    for name, found in (("sample", [s.x for s in steps]), ("pred_xstart", [s.pred.x0 for s in steps])):
        stored = case.data[f"out/p_sample_loop/{name}"]
        close(torch.stack(found), stored, LOOP * float(stored.abs().max()))
    draws = list(case.data.under("noise/p_sample_loop_clip").values())
    *_, end = reverse(
        case.fitted.denoiser, draws[0], plan, Ancestral("large"), [Clip()], Tape(draws[1:]),
        features=case.features,
    )  # fmt: skip
    close(end.x, case.data["out/p_sample_loop_clip/final"], FORWARD)


def test_merge_rule(golden: Callable[[str], Any]) -> None:
    data, case = golden("segdiff/metrics"), FittedSegDiff.decode
    one = FittedSegDiff(None, SimpleNamespace(background=-1.0))  # pyright: ignore[reportArgumentType]
    raw = data["in/samples"]
    found = merge(case(one, raw).clamp(0, 1)[None]).labels
    assert torch.equal(found[:, None].float(), data["out/merged"])
    size = data["out/merged_resized"].shape[-2:]
    resized = case(one, F.interpolate(raw, size, mode="bilinear", align_corners=False))
    assert torch.equal(merge(resized.clamp(0, 1)[None]).labels[:, None].float(), data["out/merged_resized"])
    tie = torch.tensor([[0.0, 1.0], [1.0, 1.0]])[None, :, None, None]  # a mean of a half is background
    assert torch.equal(merge(tie).labels[0].float(), data["out/merged_even_tie"])


def test_metrics(golden: Callable[[str], Any]) -> None:
    data = golden("segdiff/metrics")
    p, t = data["in/pred"].bool(), data["in/gt"].bool()
    for found, name in (
        (boundary_f1_over_tolerances(p, t), "fbound"),
        (area_ratio(p, t), "wcov_area"),
        (dice(p, t), "f1"),
        (jaccard(p, t), "jaccard"),
    ):
        close(found, data[f"out/{name}"], 1e-12)
    # What the reference calls weighted coverage is 1 for the disjoint pair; the real one is 0.
    assert area_ratio(p, t)[1] == 1
    assert weighted_coverage(p, t)[1] == 0
