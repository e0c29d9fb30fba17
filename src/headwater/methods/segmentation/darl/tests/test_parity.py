"""DARL against the arrays of its reference code: same weights, same draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from arrays import Golden, close
from closed_form import Tape
from headwater.controls import Clip
from headwater.core import Denoiser
from headwater.methods.segmentation.darl.method import DARL, DARLConfig, FittedDARL, chain, chart_of, passes
from headwater.nets.level_unet import infer_level_unet
from headwater.nets.patch_gan import PatchArchitecture, PatchGAN, looks_real, told_apart
from headwater.nets.switchable_spade import infer_spade
from headwater.sampling import Run, Start, sample, timesteps_of
from headwater.training.timesteps import at

QUIET = Run(progress=False)


@pytest.fixture
def data(golden: Callable[[str], Golden]) -> Golden:
    return golden("darl/model")


@pytest.fixture
def fitted(data: Golden) -> FittedDARL:
    inner = data.under("w/unet"), data.under("w/generator")
    sizes = [{k: tuple(v.shape) for k, v in weights.items()} for weights in inner]
    # The reference hands a polyphase image of 32 x 32 on whole.
    config = DARLConfig(infer_level_unet(sizes[0]), infer_spade(sizes[1]), size=32)
    fitted = FittedDARL.fresh(config, 0)
    fitted.network.denoise_fn.load_state_dict(inner[0])  # pyright: ignore[reportOptionalMemberAccess]
    fitted.network.segment_fn.load_state_dict(inner[1])
    fitted.network.eval()
    return fitted


@pytest.fixture
def judges(data: Golden) -> list[PatchGAN]:
    """Of masks, of pictures."""
    found = []
    for name in ("mask", "image"):
        found.append(PatchGAN(PatchArchitecture(data.config["ndf"], data.config["d_layers"])))
        found[-1].load_state_dict(data.under(f"w/disc_{name}"))
    return found


@torch.no_grad()
def test_the_networks(data: Golden, fitted: FittedDARL, judges: list[PatchGAN]) -> None:
    for t in data.config["t"]:
        close(fitted.network.latent(data["in/xt"], torch.full((2,), t)), data[f"out/unet/t{t}"], 2e-5)
    generator, chart = fitted.network.segment_fn, data["out/one_hot_map"]
    x = torch.cat([data["in/A"], data["in/xt"]], 1)
    entered = generator.model(x)
    close(entered, data["out/generator_encoder"], 1e-4)
    for name, told in (("no_map", None), ("map", chart)):
        close(generator(x, told), data[f"out/generator/{name}"], 1e-4)
        close(generator.G_middle_0.norm_0(entered, told), data[f"out/spade/{name}"], 1e-4)
        close(generator.up_0(entered, told), data[f"out/spade_block/up_0/{name}"], 1e-4)
    sides = ("mask", data["in/F"], data["in/A"]), ("image", data["in/A"], data["in/B"])
    for judge, (name, real, fake) in zip(judges, sides, strict=True):
        answers = judge(real), judge(fake)
        for said, stored in zip(answers, ("real", "fake"), strict=True):
            close(said, data[f"out/disc_{name}/{stored}"], 1e-4)
        close(told_apart(*answers), data[f"out/disc_{name}/loss_discriminator"], rtol=1e-4)
        close(looks_real(answers[1]), data[f"out/disc_{name}/loss_generator"], rtol=1e-4)


@torch.no_grad()
def test_a_pass_in_training_moves_the_spectral_norm(data: Golden, fitted: FittedDARL) -> None:
    generator = fitted.network.segment_fn.train()
    found = generator(torch.cat([data["in/A"], data["in/xt"]], 1))
    close(found, data["out/generator_train_mode/no_map"], 1e-4)
    for name in ("weight_u", "weight_v"):
        moved = getattr(generator.up_0.conv_0, name)
        close(moved, data[f"out/generator_train_mode/up_0.conv_0.{name}"], 1e-5)


def test_the_chain_and_the_map(data: Golden, fitted: FittedDARL) -> None:
    q = chain(fitted.config)
    close(1 - (q.alpha[1:] / q.alpha[:-1]).square(), data["out/betas"], 1e-9, 1e-5)
    close(q.alpha[1:], data["out/sqrt_alphas_cumprod"], rtol=1e-6)
    for t in data.config["t"]:
        close(q.combine(data["in/A"], data["in/eps"], t + 1), data[f"out/q_sample/t{t}"], 1e-6)
    # There a map drops what is below 1, here what is not above 0.
    close(chart_of((data["in/F"] >= 1).float()), data["out/one_hot_map"])


def test_losses_and_gradients(data: Golden, fitted: FittedDARL, judges: list[PatchGAN]) -> None:
    noise, *u = data.under("noise/p_losses").values()
    near, far = at(u[0], 200), at(u[1], fitted.config.T)
    near, far = near - 1, far - 1  # told from 0
    assert torch.equal(near, data["out/p_losses/t_a"])
    assert torch.equal(far, data["out/p_losses/t_b"])
    a, b, masks = (data[f"in/{name}"] for name in "ABF")
    q, stored = chain(fitted.config), lambda name: data[f"out/p_losses/{name}"]
    for name, x, t in (("A", a, near), ("B", b, far)):
        noisy = q.combine(x, noise, t + 1)
        close(noisy, stored(f"{name}_noisy"), 1e-6)
        close(fitted.network.latent(noisy, t), stored(f"{name}_latent"), 2e-5)
    for parameter in fitted.network.parameters():
        parameter.requires_grad_(True)
    found = passes(fitted.network, q, a, b, data["out/one_hot_map"], noise, near, far)
    close(found.mask, stored("segm_V"), 1e-4)
    close(found.image, stored("synt_A"), 1e-4)
    close(found.again, stored("recn_F"), 5e-4)
    cycle = (found.again - masks).abs().mean()
    fooled = [looks_real(j(x)) for j, x in zip(judges, (found.mask, found.image), strict=True)]
    apart = [
        told_apart(j(x), j(y.detach()))
        for j, x, y in zip(judges, (masks, a), (found.mask, found.image), strict=True)
    ]
    total = found.error + DARL().cycle * cycle + DARL().adversarial * sum(fooled)
    for name, value in {
        "l_dif": found.error, "l_cyc": cycle, "l_adv_mask": fooled[0], "l_adv_image": fooled[1],
        "l_disc_mask": apart[0], "l_disc_image": apart[1], "l_total": total,
    }.items():  # fmt: skip
        close(value, stored(name), rtol=1e-4)
    total.backward()
    own = dict(fitted.network.named_parameters())
    grads = data.under("out/p_losses_grad")
    assert len(grads) >= 5
    for name, grad in grads.items():
        close(own[name].grad, grad, share=5e-4)  # pyright: ignore[reportArgumentType]


def test_one_pass_at_use(data: Golden, fitted: FittedDARL) -> None:
    """The reference splits a picture in four; here they are put together again by `apply`."""
    found = DARL().apply(data["in/A_full"], fitted, progress=False, device="cpu")
    close(2 * found.soft - 1, data["out/segment/full"], 1e-4)
    assert torch.equal(found.mask, found.soft > 0.5)
    with torch.no_grad():
        close(fitted.segment(data["in/A"]), data["out/p_sample_loop/mask"], 1e-4)
        vessels = data["out/one_hot_map"][:, 1:]
        close(fitted.synthesize(data["in/B"], vessels), data["out/p_sample_loop/synthetic"], 1e-4)


def test_backgrounds_are_drawn(
    data: Golden, fitted: FittedDARL, replayed: Callable[[Any], list[Any]]
) -> None:
    """The loop that the reference shows while it trains, over another chain."""
    said = data.config["sample_schedule"]
    config = replace(fitted.config, T=said["n_timestep"], start=said["linear_start"], end=said["linear_end"])
    denoiser: Denoiser = replace(fitted, config=config).denoiser
    steps = replayed(Tape(list(data.under("noise/p_sample_loop").values())))

    def begin(batch: Any) -> Start:
        return Start(denoiser.process.start(torch.empty(2, 1, 32, 32), batch.noise), [Clip()])

    found: Tensor = sample(denoiser, timesteps_of(config.T, config.T), 2, begin, QUIET)
    stored = data["out/p_sample_loop/all"]
    close(torch.stack([step.x for step in steps]), stored[1:], 2e-4)
    close(found, stored[-1], 2e-4)
    assert isinstance(denoiser.network, nn.Module)
