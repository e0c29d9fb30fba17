"""Diffusers folders: read, written, converted, with the same numbers on both sides."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headwater.errors import UserError
from headwater.models import Prior, PriorConfig, ProcessConfig, convert, inspect
from headwater.nets.adm import UNet, UNetConfig

BASE = UNetConfig(
    in_channels=1,
    model_channels=32,
    out_channels=1,
    num_res_blocks=1,
    attention_resolutions=(2,),
    channel_mult=(1, 2, 2),
    use_scale_shift_norm=True,
)
VARIANTS = {
    "shipped-like": {},
    "heads": {"num_heads": 4, "attention_resolutions": (2, 4)},
    "new-order": {
        "num_head_channels": 16,
        "use_new_attention_order": True,
        "attention_resolutions": (1, 2, 4),
    },
    "legacy-order": {"num_head_channels": 16, "attention_resolutions": (1, 2, 4)},
    "resblock-updown": {"resblock_updown": True, "attention_resolutions": (2, 4)},
    "plain-norm": {"use_scale_shift_norm": False},
    "classes": {"num_classes": 5},
    "learned-range": {"out_channels": 2},
}


def make(variant: str = "shipped-like", **config) -> Prior:
    return prior_of(dataclasses.replace(BASE, **VARIANTS[variant]), **config)


def prior_of(architecture: UNetConfig, **config) -> Prior:
    torch.manual_seed(0)
    network = UNet(architecture).eval()
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.08)
    described = PriorConfig(
        **{
            "network": {"kind": "adm", **dataclasses.asdict(architecture)},
            "shape": (1, 16, 16),
            "process": ProcessConfig(T=20, betas="cosine"),
            "variance": "learned_range" if architecture.out_channels == 2 else "fixed",
            **config,
        }
    )
    return Prior(network, described)


def answer(network: torch.nn.Module, classes: bool = False, **options) -> torch.Tensor:
    torch.manual_seed(1)
    y = {"y": torch.tensor([0, 3, 4])} if classes else {}
    with torch.no_grad():
        out = network(torch.randn(3, 1, 16, 16), torch.tensor([0, 7, 19]), *options.values(), **y)
    return getattr(out, "sample", out)


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip_through_diffusers(tmp_path: Path, variant: str) -> None:
    prior, classes = make(variant), variant == "classes"
    prior.save_pretrained(tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs", to="diffusers")
    read = Prior.from_pretrained(tmp_path / "theirs")
    reference = answer(prior.network, classes)
    assert reference.abs().max() > 0.1
    assert (answer(read.network, classes) - reference).abs().max() < 1e-5
    assert (read.config.process, read.config.variance) == (prior.config.process, prior.config.variance)
    convert(tmp_path / "theirs", tmp_path / "back.pt", to="adm")
    back = Prior.from_pretrained(
        tmp_path / "back.pt",
        shape=(1, 16, 16),
        use_new_attention_order=True,
        **{k: v for k, v in heads(prior).items() if v is not None},
    )
    assert (answer(back.network, classes) - reference).abs().max() < 1e-5


def heads(prior: Prior) -> dict[str, int]:
    config = prior.network.config
    return {"num_heads": config.num_heads, "num_head_channels": config.num_head_channels}


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_their_pipeline_samples_what_we_sample(tmp_path: Path, predicts: str) -> None:
    """DDPMPipeline on the converted folder, given our noise, ends in our picture."""
    from diffusers import DDPMPipeline

    prior = make(predicts=predicts, process=ProcessConfig(T=6, betas="linear", low=0.02, high=0.8))
    prior.save_pretrained(tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs", to="diffusers")
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "theirs")
    pipeline.set_progress_bar_config(disable=True)
    assert (answer(pipeline.unet) - answer(prior.network)).abs().max() < 1e-5
    images = pipeline(batch_size=2, num_inference_steps=6, output_type="np").images
    assert images.shape == (2, 16, 16, 1)

    torch.manual_seed(3)
    draws = [torch.randn(1, 1, 16, 16) for _ in range(7)]
    theirs, feed = draws[0], iter(draws[1:])
    pipeline.scheduler.set_timesteps(6)
    import diffusers.schedulers.scheduling_ddpm as module

    original, module.randn_tensor = module.randn_tensor, lambda *a, **k: next(feed)
    try:
        for t in pipeline.scheduler.timesteps:
            with torch.no_grad():
                out = pipeline.unet(theirs, t).sample
            theirs = pipeline.scheduler.step(out, t, theirs).prev_sample
    finally:
        module.randn_tensor = original
    from headwater.core import descend, last, reverse

    feed = iter(draws[1:])
    with torch.no_grad():
        steps = reverse(
            prior.denoiser,
            draws[0],
            list(descend(6)),
            prior.sampler,
            prior.controls,
            lambda like, level=0: next(feed),
        )
        mine = last(steps)
    assert (mine - theirs).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"conv_resample": False}, "always convolves"),
        ({"num_heads": 2, "attention_resolutions": (1, 2)}, "channels per attention head"),
        ({"channel_mult": (2, 2)}, "as many channels as the first level"),
    ],
)
def test_what_diffusers_cannot_express_is_said(tmp_path: Path, change: dict, why: str) -> None:
    prior_of(dataclasses.replace(BASE, **change)).save_pretrained(tmp_path / "ours")
    with pytest.raises(UserError, match=why):
        convert(tmp_path / "ours", tmp_path / "theirs", to="diffusers")
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"noise": {"kind": "simplex"}}, "white noise only"),
        ({"process": ProcessConfig("flow", 10)}, "variance-preserving"),
        ({"process": ProcessConfig(T=10, unit_labels=True)}, "unit labels"),
        ({"predicts": "score"}, "predict score"),
    ],
)
def test_what_a_pipeline_cannot_walk_is_said(tmp_path: Path, config: dict, why: str) -> None:
    make(**config).save_pretrained(tmp_path / "ours")
    with pytest.raises(UserError, match=why):
        convert(tmp_path / "ours", tmp_path / "theirs", to="diffusers")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A pipeline's folder as diffusers itself writes it, with options that guided-diffusion lacks."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    unet = UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_eps=1e-6,
        flip_sin_to_cos=False,
        freq_shift=1,
        downsample_padding=0,
    )
    scheduler = DDPMScheduler(num_train_timesteps=50, beta_start=0.001, beta_end=0.3)
    DDPMPipeline(unet, scheduler).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def rewrite(path: Path, **changes) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (values | changes).items() if v is not ...}))


def test_their_own_folders_are_read_exactly(theirs: Path, tmp_path: Path) -> None:
    from diffusers import DDPMPipeline

    pipeline, prior = DDPMPipeline.from_pretrained(theirs), Prior.from_pretrained(theirs)
    torch.testing.assert_close(answer(prior.network), answer(pipeline.unet.eval()), rtol=0, atol=1e-6)
    assert prior.shape == (1, 16, 16)
    bar = prior.process.alpha[1:].square().float()
    torch.testing.assert_close(bar, pipeline.scheduler.alphas_cumprod, rtol=2e-5, atol=1e-7)
    assert Prior.from_pretrained(theirs / "unet").config.process == prior.config.process
    prior.save_pretrained(tmp_path / "ours")
    assert torch.equal(answer(Prior.from_pretrained(tmp_path / "ours").network), answer(prior.network))
    with pytest.raises(UserError, match="guided-diffusion has no flip_sin_to_cos=False"):
        convert(theirs, tmp_path / "x.pt", to="adm")


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"prediction_type": "v_prediction"}, {"predicts": "v"}),
        ({"prediction_type": "sample", "clip_sample": False}, {"predicts": "x0", "clip": False}),
        ({"_class_name": "DDIMScheduler"}, {"predicts": "eps", "variance": "fixed"}),
        ({"_class_name": "DPMSolverMultistepScheduler"}, {"predicts": "eps"}),
        ({"_class_name": "EDMEulerScheduler", "sigma_max": 40.0}, {"predicts": "x0"}),
    ],
)
def test_schedulers(theirs: Path, tmp_path: Path, scheduler: dict, expected: dict) -> None:
    rewrite(theirs / "scheduler" / "scheduler_config.json", **scheduler)
    prior = Prior.from_pretrained(theirs)
    assert {k: getattr(prior.config, k) for k in expected} == expected
    assert prior.denoiser(torch.zeros(1, 1, 16, 16), 10).x0.isfinite().all()
    prior.save_pretrained(tmp_path / "ours")
    assert Prior.from_pretrained(tmp_path / "ours").config == prior.config


def test_edm_scheduler_means_edm_preconditioning(theirs: Path) -> None:
    from diffusers import EDMEulerScheduler

    rewrite(theirs / "scheduler" / "scheduler_config.json", _class_name="EDMEulerScheduler", sigma_data=0.6)
    prior = Prior.from_pretrained(theirs)
    edm = EDMEulerScheduler(sigma_data=0.6)
    x, sigma = torch.randn(1, 1, 16, 16), prior.process.sigma[30].float()
    with torch.no_grad():
        raw = prior.network.network(edm.precondition_inputs(x, sigma), sigma.log().reshape(1) / 4)
        mine = prior.denoiser(x, 30).x0
    torch.testing.assert_close(mine, edm.precondition_outputs(x, raw, sigma), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("model_index.json", {"unet": ["my_code", "UNet2DModel"]}, "pipeline with unet"),
        ("model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "pipeline with vqvae"),
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "only UNet2DModel"),
        ("unet/config.json", {"block_out_chanels": [32]}, "did you mean 'block_out_channels'"),
        ("unet/config.json", {"block_out_channels": [1 << 30, 64]}, "wide or deep"),
        ("unet/config.json", {"block_out_channels": [64, 64]}, "does not fit"),
        ("unet/config.json", {"act_fn": "__import__('os')"}, "correct the config"),
        ("unet/config.json", {"down_block_types": ["os.system", "DownBlock2D"]}, "correct the config"),
        ("unet/config.json", {"sample_size": ...}, "sample_size"),
        ("scheduler/scheduler_config.json", {"_class_name": "DPM"}, "unknown scheduler"),
        ("scheduler/scheduler_config.json", {"prediction_type": "eps"}, "unknown prediction_type"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "x"}, "unknown beta_schedule"),
    ],
)
def test_only_the_closed_table_is_built(theirs: Path, file: str, changes: dict, message: str) -> None:
    rewrite(theirs / file, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        Prior.from_pretrained(theirs)
    assert "\n" not in str(caught.value)


def test_pickles_of_their_folders_are_read_and_none_is_run(theirs: Path) -> None:
    wanted = answer(Prior.from_pretrained(theirs).network)
    weights = theirs / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    assert torch.equal(answer(Prior.from_pretrained(theirs).network), wanted)
    torch.save({"conv_in.weight": print}, weights.with_suffix(".bin"))
    with pytest.raises(UserError, match=r"asks to run .*print: refused"):
        Prior.from_pretrained(theirs)


def test_convert_refuses_unknown_targets(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "ours")
    with pytest.raises(UserError, match="did you mean 'diffusers'"):
        convert(tmp_path / "ours", tmp_path / "x", to="diffuser")
    with pytest.raises(UserError, match="end it in"):
        convert(tmp_path / "ours", tmp_path / "x.txt", to="adm")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        convert(tmp_path / "ours", tmp_path / "file" / "x.pt", to="adm")


def test_inspect_says_what_it_is(tmp_path: Path, theirs: Path) -> None:
    prior = make("learned-range")
    prior.save_pretrained(tmp_path / "ours", dtype=torch.float16)
    count = sum(p.numel() for p in prior.network.parameters())
    ours = inspect(tmp_path / "ours")
    assert (ours.format, ours.parameters, ours.container) == ("headwater prior", count, "safetensors")
    assert set(ours.dtypes) == {"float16"}
    assert ours.config == Prior.from_pretrained(tmp_path / "ours").config
    assert ours.sha256 == Prior.from_pretrained(tmp_path / "ours").hash
    torch.save({"ema": prior.network.state_dict(), "step": 5}, tmp_path / "x.pt")
    adm = inspect(tmp_path / "x.pt")
    assert (adm.format, adm.nest, adm.parameters) == ("guided-diffusion weights", "ema", count)
    assert adm.network["channel_mult"] == (1, 2, 2)
    assert adm.config is None
    assert "pass shape=" in adm.remark
    assert inspect(theirs).format == "diffusers folder"
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "y.pt")
    other = inspect(tmp_path / "y.pt")
    assert (other.format, other.parameters, other.network) == ("other weights", 4, {})
    for report in (ours, adm, other):
        assert report.sha256 in str(report)
        assert "None" not in str(report)
    with pytest.raises(UserError, match="no file or folder"):
        inspect(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no checkpoint"):
        inspect(tmp_path)
