"""DDPM-CD against the arrays of its reference code: same weights, same draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arrays import Golden, close
from closed_form import Tape
from headwater.methods.segmentation.ddpm_cd.method import DDPMCD, ChangeDetector, Reader
from headwater.methods.segmentation.ddpm_cd.network import ChannelGate, PixelGate, SqueezeExcite
from headwater.metrics.segmentation import confusion, scores
from headwater.models import Prior
from headwater.nets.level_unet import LevelUNet
from headwater.training.timesteps import at, between

CHAIN = {"T": 10, "low": 0.001, "high": 0.5, "groups": 16, "shape": (3, 32, 32)}
SETTINGS = {"n_timestep": 10, "linear_start": 0.001, "linear_end": 0.5, "output_cm_size": 32}


@pytest.fixture
def data(golden: Callable[[str], Golden]) -> Golden:
    return golden("ddpm-cd/model")


@pytest.fixture
def prior(data: Golden, tmp_path: Path) -> Prior:
    """Read from a file as the reference code writes it: under denoise_fn, with tables of the chain."""
    theirs = {f"denoise_fn.{name}": value for name, value in data.under("w/unet").items()}
    torch.save({**theirs, "betas": data["out/betas"]}, tmp_path / "theirs_gen.pth")
    return Prior.from_pretrained(tmp_path / "theirs_gen.pth", **CHAIN)


def head(data: Golden, name: str, times: list[int], tmp_path: Path) -> ChangeDetector:
    torch.save(data.under(f"w/{name}"), tmp_path / "theirs_cd.pth")
    settings = {**SETTINGS, "t": times, "feat_scales": data.config["feat_scales"]}
    return ChangeDetector.from_published(tmp_path / "theirs_cd.pth", settings)


def process_at(prior: Prior, levels: Tensor) -> Prior:
    """The prior on a chain of these levels, told as they are."""
    signal = torch.cat([levels.new_ones(1), levels])
    process = replace(
        prior.process, alpha=signal, sigma=(1 - signal.square()).clamp(min=0).sqrt(), label=signal
    )
    found = replace(prior)
    object.__setattr__(found, "denoiser", replace(prior.denoiser, process=process))
    return found


def levels_of(prior: Prior, t: int, place: Tensor) -> Tensor:
    """What the reference draws: between the levels of two timesteps."""
    return between(prior.process.alpha, torch.tensor([t]), place.double())


def read(data: Golden, prior: Prior, t: int, date: int, blocks: tuple[int, ...]) -> list[Tensor]:
    """Features of date 0 or 1 at the reference's draws of timestep t."""
    first = 4 * data.config["times"].index(t) + 2 * date
    place, noise = (data[f"noise/feats/{first + k:03d}"] for k in (0, 1))
    level = levels_of(prior, t, place)
    close(level, data[f"out/feats/t{t}/{'AB'[date]}/level"], rtol=1e-12)
    reader = Reader(process_at(prior, level), (float(level),), blocks, one_noise=False)
    (maps,) = reader.read(data["in/A" if date == 0 else "in/B"], [noise])
    return list(maps)


def test_the_prior_is_told_levels_and_answers_the_noise(data: Golden, prior: Prior) -> None:
    close(prior.process.alpha, data["out/sqrt_alphas_cumprod_prev"], rtol=1e-12)
    close(prior.process.label[1:], data["out/sqrt_alphas_cumprod_prev"][1:], rtol=1e-12)
    for level in data.config["levels"]:
        with torch.no_grad():
            found = prior.network(data["in/A"], torch.full((1,), level))
        close(found, data[f"out/forward/level{level}"], 2e-5)


def test_the_priors_loss(data: Golden, prior: Prior) -> None:
    u, place, eps = (data[f"noise/p_losses/{i:03d}"] for i in range(3))
    t = at(u.reshape(1).double(), prior.process.T)
    assert int(t) == int(data["out/p_losses/t"])
    level = levels_of(prior, int(t), place)
    close(level, data["out/p_losses/levels"], rtol=1e-12)
    here = replace(process_at(prior, level).denoiser, error=data.config["loss_type"])
    with torch.no_grad():
        loss = here.loss(data["in/A"], 1, eps)
    close(loss.sum() * data["in/A"].numel(), data["out/p_losses/loss"], rtol=1e-5)


def test_one_picture_is_drawn(data: Golden, prior: Prior, replayed: Callable[[Any], list[Any]]) -> None:
    stored = data["out/p_sample_loop/all"]
    steps = replayed(Tape([*data.under("noise/p_sample_loop").values(), torch.zeros(1, 3, 32, 32)]))
    found = prior.sample(1, progress=False)
    close(torch.cat([step.x for step in steps]), stored[1:], 2e-4)
    close(found, stored[-1:], 2e-4)


@pytest.mark.parametrize("date", [0, 1])
def test_features(data: Golden, prior: Prior, date: int) -> None:
    scales = sorted(data.config["feat_scales"], reverse=True)
    for t in data.config["times"]:
        maps = read(data, prior, t, date, tuple(14 - scale for scale in scales))
        for scale, found in zip(scales, maps, strict=True):
            close(found, data[f"out/feats/t{t}/{'AB'[date]}/decoder/{scale:02d}"], 2e-5)


def test_every_block_of_the_network(data: Golden, prior: Prior) -> None:
    network = prior.network
    assert isinstance(network, LevelUNet)
    t, tape = data.config["times"][-1], [data[f"noise/feats/{i:03d}"] for i in (10, 11)]
    level = levels_of(prior, t, tape[0])
    x = level.float() * data["in/B"] + (1 - level.square()).sqrt().float() * tape[1]
    with torch.no_grad():
        stages = dict(network.stages(x, level.float()))
    encoder = [v for name, v in stages.items() if name.startswith("downs")]
    decoder = [
        v
        for name, v in stages.items()
        if name.startswith("ups") and hasattr(network.get_submodule(name), "res_block")
    ]
    for part, found in (("encoder", encoder), ("decoder", decoder[::-1])):
        stored = f"out/feats/t{t}/B/{part}"
        close(torch.stack([v.mean() for v in found]), data[f"{stored}_means"], 2e-5)
        close(torch.stack([v.abs().max() for v in found]), data[f"{stored}_absmax"], 2e-5)
    for i, value in data.under(f"out/feats/t{t}/B/encoder").items():
        close(encoder[int(i)], value, 2e-5)


@pytest.mark.parametrize("name", ["head", "head_one"])
def test_the_head(data: Golden, prior: Prior, name: str, tmp_path: Path) -> None:
    times = data.config["times"][: None if name == "head" else 1]
    fitted = head(data, name, times, tmp_path)
    dates = [[read(data, prior, t, date, fitted.config.blocks) for t in times] for date in (0, 1)]
    with torch.no_grad():
        logits = fitted.network(*dates)
    close(logits, data[f"out/{name}/logits"], 2e-4)
    if name == "head":
        close(logits.argmax(1), data["out/head/prediction"])
        close(F.cross_entropy(logits, data["in/gt"]), data["out/head/cross_entropy"], rtol=1e-5)
        for date in dates:
            for maps in date:
                maps[-1] = maps[-1] + 1.0
        with torch.no_grad():
            assert torch.equal(fitted.network(*dates), logits)  # the finest block is dead there
        close(logits, data["out/head/logits_finest_level_changed"], 2e-4)


def test_squeeze_excite(golden: Callable[[str], Golden]) -> None:
    data = golden("ddpm-cd/squeeze_excite")
    for name, kind in (("channel", ChannelGate), ("spatial", PixelGate), ("both", SqueezeExcite)):
        module = kind(8)
        own = {k.removeprefix(f"{name}."): v for k, v in data.under("w").items() if k.startswith(f"{name}.")}
        module.load_state_dict(own, strict=True)
        close(module(data["in/x"]), data[f"out/{name}"], 2e-5)


def test_metrics(golden: Callable[[str], Golden]) -> None:
    data = golden("ddpm-cd/metrics")
    pred, truth = data["in/pred"], data["in/gt"]
    each = torch.stack([confusion(p, t, 2, 255) for p, t in zip(pred, truth, strict=True)])
    close(each, data["out/per_image_confusion"])
    close(each.sum(0), data["out/confusion"])
    eps = float(torch.finfo(torch.float32).eps)  # theirs, in every denominator
    found, stored = scores(each.sum(0), eps), data.under("out/scores")
    names = {"precision": "precision", "recall": "recall", "iou": "iou", "f1": "F1"}
    for ours, theirs in names.items():
        for k in (0, 1):
            close(found[ours][k], stored[f"{theirs}_{k}"], 1e-12)
    close(found["accuracy"], stored["acc"], 1e-12)
    for name, mean in (("f1", "mf1"), ("iou", "miou")):
        close(found[name].mean(), stored[mean], 1e-12)
    singly = torch.stack([scores(counts, eps)["f1"].mean() for counts in each])
    close(singly, data["out/per_image_mean_f1"], 1e-12)
    close(len(singly) / (1 / (singly + 1e-6)).sum(), data["out/harmonic_mean"], 1e-9)
    ours = DDPMCD().evaluate(pred, truth)
    assert ours["f1"] == pytest.approx(float(stored["F1_1"]), abs=1e-7)
    assert ours["iou"] == pytest.approx(ours["f1"] / (2 - ours["f1"]))
