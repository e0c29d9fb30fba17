"""SDM against the arrays of its reference code: same weights, same draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from arrays import Golden, close
from closed_form import Tape
from headwater.controls import Clip
from headwater.core.likelihood import model_log_variance
from headwater.core.schedule import linear
from headwater.methods.synthesis.sdm.method import SDM, FittedSDM, edges_of
from headwater.nets.adm_blocks import Downsample, EncoderConfig, Upsample
from headwater.nets.spade import SPADENorm, SPADEResBlock
from headwater.sampling import guided, timesteps_of

BLOCKS = {  # channels of the input, of the output, scale-shift, resampling
    "res_same": (64, 64, False, None),
    "res_wider_ss": (32, 64, True, None),
    "res_up": (32, 32, True, Upsample),
    "res_down": (32, 32, True, Downsample),
}


@pytest.fixture
def blocks(golden: Callable[[str], Golden]) -> Golden:
    return golden("sdm/blocks")


@pytest.fixture
def ref(golden: Callable[[str], Golden]) -> Golden:
    return golden("sdm/model")


@pytest.fixture
def fitted(ref: Golden, tmp_path: Path) -> FittedSDM:
    """The reference's weights, read as its authors publish them."""
    torch.save(ref.under("w"), tmp_path / "sdm.pt")
    settings = {"image_size": 16, "num_head_channels": 16, "no_instance": False}
    return FittedSDM.from_published(tmp_path / "sdm.pt", settings)


def weights(data: Golden, block: str) -> dict[str, torch.Tensor]:
    named = data.under("w").items()
    return {name.removeprefix(f"{block}."): v for name, v in named if name.startswith(f"{block}.")}


@torch.no_grad()
def test_the_norm(blocks: Golden) -> None:
    norm = SPADENorm(32, 6, 128)
    norm.load_state_dict(weights(blocks, "spade"), strict=True)
    x, told = blocks["in/x"], blocks["in/map"]
    close(norm(x, norm.read(told, (8, 8))), blocks["out/spade"], 2e-5)
    close(norm(x, norm.read(0 * told, (8, 8))), blocks["out/spade_zero_map"], 2e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", BLOCKS)
def test_the_residual_blocks(name: str, blocks: Golden) -> None:
    channels, out, scale_shift, resample = BLOCKS[name]
    config = EncoderConfig(3, 32, 3, 1, (), use_scale_shift_norm=scale_shift)
    layer = None if resample is None else resample(channels, False)
    block = SPADEResBlock(config, channels, out, layer, 6, 128)
    wide = blocks.config["emb"]  # narrower than that of any network
    block.emb_layers[1] = torch.nn.Linear(wide, out * (1 + scale_shift))
    block.load_state_dict(weights(blocks, name), strict=True)
    x = blocks["in/x_res_same"] if name == "res_same" else blocks["in/x"]
    emb, told = blocks["in/emb"], blocks["in/map"]
    if resample is Downsample:  # decoders have none: its second norm works at half the size
        sizes = ((8, 8), (4, 4))
        pair = zip((block.in_norm, block.out_norm), sizes, strict=True)
        told = tuple(norm.read(told, size) for norm, size in pair)
    close(block.eval()(x, emb, told), blocks[f"out/{name}"], 2e-5)
    close(block(x, 0 * emb, told), blocks[f"out/{name}_zero_emb"], 2e-5)


def test_edges_and_the_map(blocks: Golden, ref: Golden, fitted: FittedSDM) -> None:
    close(edges_of(blocks["in/instance"][:, 0]), blocks["out/edges"])
    labels, instances = (ref[f"in/{name}"][:, 0].long() for name in ("label", "instance"))
    close(edges_of(instances), ref["out/edges"])
    close(fitted.encode(labels, instances), ref["out/map"])


@torch.no_grad()
def test_the_network(ref: Golden, fitted: FittedSDM) -> None:
    told, empty = ref["out/map"], 0 * ref["out/map"]
    for way in (lambda v: v, fitted.network.encode):  # read on the way, and beforehand
        for t in ref.config["t"]:
            step = torch.full((1,), float(t))
            found = fitted.network(ref["in/xt"], step, features=way(told))
            close(found, ref[f"out/forward/t{t}"], 2e-5)
        found = fitted.network(ref["in/xt"], torch.full((1,), 300.0), features=way(empty))
        close(found, ref["out/forward_zero_map/t300"], 2e-5)
    close(fitted.network(ref["in/xt"], torch.full((1,), 300.0)), ref["out/forward_zero_map/t300"], 2e-5)


def test_losses_and_their_gradients(ref: Golden, fitted: FittedSDM) -> None:
    close(linear(1000), ref["out/betas"], rtol=1e-12)
    fitted.network.requires_grad_(True)
    for t in ref.config["loss_t"]:
        mse, bits = fitted.denoiser.terms(
            ref["in/x0"], torch.tensor([t + 1]), ref["in/eps"], features=ref["out/map"]
        )
        assert bits is not None
        for name, value in (("mse", mse), ("vb", bits), ("loss", mse + bits)):
            close(value, ref[f"out/training_losses/t{t}/{name}"], rtol=2e-5)
        wanted = ref.under(f"out/training_losses_grad/t{t}")
        (mse + bits).mean().backward()
        for name, value in wanted.items():
            close(fitted.network.get_parameter(name).grad, value, share=1e-4)  # pyright: ignore
        fitted.network.zero_grad()
    assert len(ref.under("out/training_losses_grad/t7")) == 3


@torch.no_grad()
@pytest.mark.parametrize("name", ["s1_t0", "s1_t300", "s1.5_t0", "s1.5_t300", "s1.5_t999"])
def test_guided_means_and_their_variances(name: str, ref: Golden, fitted: FittedSDM) -> None:
    scale, t = float(name.split("_")[0][1:]), int(name.split("_t")[1])
    told, q = ref["out/map"], fitted.denoiser.process
    one = guided(fitted.denoiser, scale, {"features": fitted.network.encode(0 * told)})
    pred = Clip().denoised(one(ref["in/xt"], t + 1, features=fitted.network.encode(told)))
    close(pred.x0, ref[f"out/p_mean_variance/{name}/pred_xstart"], 1e-3)
    close(q.posterior(ref["in/xt"], pred.x0, t + 1, t).mean, ref[f"out/p_mean_variance/{name}/mean"], 2e-4)
    variance = model_log_variance(q, pred, t)
    close(torch.as_tensor(variance), ref[f"out/p_mean_variance/{name}/log_variance"], 2e-4)


@pytest.mark.parametrize("cached", [True, False])
def test_the_loop(cached: bool, ref: Golden, fitted: FittedSDM, replayed: Callable[[Any], list[Any]]) -> None:
    labels, instances = (ref[f"in/{name}"][:, 0].long() for name in ("label", "instance"))
    steps = replayed(Tape(ref.under("noise/p_sample_loop").values()))
    method = SDM(steps=str(ref.config["respacing"][0]), guidance_scale=ref.config["s"][1], cached=cached)
    found = method.apply(labels, fitted, instances, device="cpu", progress=False)
    assert [step.t for step in steps] == [t + 1 for t in reversed(ref["out/respaced_map"].tolist())]
    assert timesteps_of(1000, method.steps)[:-1] == [step.t for step in steps]
    close(torch.stack([step.x for step in steps]), ref["out/p_sample_loop/sample"], 2e-4)
    predicted = torch.stack([step.pred.x0 for step in steps])
    close(predicted, ref["out/p_sample_loop/pred_xstart"], 1e-3)
    close(found, ref["out/p_sample_loop/sample"][-1], 2e-4)
