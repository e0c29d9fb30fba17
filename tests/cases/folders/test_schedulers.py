"""What a checkpoint says of its process, what is assumed, and how to say otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from checkpoint_files import ASSUMED, rewrite
from headwater.errors import UserError
from headwater.models import Prior

# Checkpoints without a scheduler


@pytest.fixture
def bare(pipeline: Path) -> Path:
    """A U-Net as the training script leaves it, and the scheduler of that training elsewhere."""
    folder = pipeline.parent / "checkpoint-500" / "unet_ema"
    shutil.copytree(pipeline / "unet", folder)
    rewrite(folder / "config.json", decay=0.99, use_ema_warmup=False)
    return folder


def test_every_verb_says_that_the_process_is_assumed(
    bare: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    from PIL import Image

    (tmp_path / "image").mkdir()
    Image.new("L", (8, 8), 99).save(tmp_path / "image" / "a.png")
    asked = "say so by headwater convert PRIOR NEW --scheduler FILE, or --betas and --predicts, and use NEW"
    code, _, err = run("sample", bare, "--n", 1, "--steps", 2, "--out", tmp_path / "drawn")
    assert code == 0
    assert err.count(ASSUMED) == 1
    assert asked in err
    assert any(
        ASSUMED in said for said in yaml.safe_load((tmp_path / "drawn" / "run.yaml").read_text())["notes"]
    )
    words = ("--image", tmp_path / "image", "--level", 10, "--steps", 2)
    code, _, err = run("apply", "diffpure", "--prior", bare, *words, "--out", tmp_path / "pure")
    assert (code, err.count(ASSUMED)) == (0, 1)
    code, out, err = run("inspect", bare)
    assert code == 0
    assert ASSUMED in out
    code, out, _ = run("inspect", bare, "--json")
    assert ASSUMED in json.loads(out)["remark"]


@pytest.mark.parametrize(
    "said",
    [
        lambda s: ("--scheduler", s / "scheduler_config.json"),
        lambda s: ("--scheduler", s),
        lambda s: ("--scheduler", s.parent),
        lambda s: ("--betas", "cosine", "--predicts", "v", "--T", 20),
    ],
    ids=["file", "folder", "pipeline", "words"],
)
def test_what_was_assumed_can_be_said(
    bare: Path,
    pipeline: Path,
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    said: Callable[[Path], tuple],
) -> None:
    code, _, err = run("convert", bare, tmp_path / "new", *said(pipeline / "scheduler"))
    assert (code, err) == (0, "")
    mine, wanted = Prior.from_pretrained(tmp_path / "new").config, Prior.from_pretrained(pipeline).config
    assert (mine.process, mine.predicts, mine.clip) == (wanted.process, wanted.predicts, wanted.clip)
    code, _, err = run("sample", tmp_path / "new", "--n", 1, "--steps", 2, "--out", tmp_path / "drawn")
    assert (code, err) == (0, "")


def test_the_rest_stays_assumed(bare: Path, pipeline: Path, notes: Callable[[], str]) -> None:
    assert Prior.from_pretrained(bare, betas="cosine", predicts="v").config.process.betas == "cosine"
    assert notes() == ""
    Prior.from_pretrained(bare, betas="cosine")
    assert "so noise (eps) as its answer is assumed" in notes()
    Prior.from_pretrained(bare, predicts="v")
    assert "so a linear noise schedule of 1,000 steps is assumed" in notes()
    told = Prior.from_pretrained(bare, scheduler=pipeline / "scheduler", T=30)
    assert (told.config.process.T, told.config.process.betas, told.config.predicts) == (30, "cosine", "v")
    with pytest.raises(
        UserError, match=r"there is no scheduler_config.json at .*unet_ema: give that file, or"
    ):
        Prior.from_pretrained(bare, scheduler=bare)


def test_the_size_of_pictures_can_be_said(
    bare: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    rewrite(bare / "config.json", sample_size=None)
    code, _, err = run("sample", bare, "--n", 1, "--steps", 2, "--out", tmp_path / "drawn")
    assert code == 1
    assert (
        "does not say sample_size, the size of the pictures: say it by headwater convert PRIOR NEW --shape 1 "
        in err
    )
    assert run("convert", bare, tmp_path / "new", "--shape", 1, 16, 8)[0] == 0
    assert Prior.from_pretrained(tmp_path / "new").shape == (1, 16, 8)
    assert run("sample", tmp_path / "new", "--n", 1, "--steps", 2, "--out", tmp_path / "drawn")[0] == 0


# Schedulers


@pytest.mark.parametrize(
    ("scheduler", "remark"),
    [
        (
            {"thresholding": True},
            "thresholds estimates by their quantiles, and here they are kept within [-1, 1]",
        ),
        (
            {"thresholding": True, "clip_sample": False},
            "by their quantiles, and here they are left as they are",
        ),
        ({"clip_sample_range": 2.0}, "clips estimates at 2, and here they are kept within [-1, 1]"),
        ({"clip_sample_range": 2.0, "clip_sample": False}, ""),
        (
            {"variance_type": "fixed_large"},
            "draws with fixed_large, and the ancestral sampler here with fixed_small",
        ),
        ({"timestep_spacing": "trailing", "steps_offset": 1, "set_alpha_to_one": False}, ""),
        ({"skip_prk_steps": True, "tensor_format": "pt", "prediction_type": None, "variance_type": None}, ""),
    ],
)
def test_what_is_not_done_of_a_scheduler_is_said(
    pipeline: Path, notes: Callable[[], str], scheduler: dict, remark: str
) -> None:
    rewrite(pipeline / "scheduler" / "scheduler_config.json", **scheduler)
    prior = Prior.from_pretrained(pipeline)
    said = notes()
    assert remark in said if remark else said == ""
    assert prior.config.predicts == ("eps" if "prediction_type" in scheduler else "v")


@pytest.mark.parametrize(
    "scheduler",
    [
        {},
        {"beta_schedule": "linear", "beta_start": 0.002, "beta_end": 0.3},
        {"beta_schedule": "scaled_linear", "beta_end": 0.3},
        {"beta_schedule": "sigmoid"},
        {"trained_betas": [0.1, 0.2, 0.3]},
        {"rescale_betas_zero_snr": True},
    ],
    ids=["cosine", "linear", "scaled", "sigmoid", "trained", "zero-snr"],
)
def test_chains_are_those_of_diffusers(pipeline: Path, scheduler: dict) -> None:
    from diffusers import DDPMScheduler

    path = pipeline / "scheduler" / "scheduler_config.json"
    rewrite(path, **scheduler)
    bars = DDPMScheduler.from_pretrained(path.parent).alphas_cumprod
    mine = Prior.from_pretrained(pipeline).process.alpha[1:].square().float()
    torch.testing.assert_close(mine, bars, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler"])
def test_fields_left_out_are_those_of_the_scheduler_itself(pipeline: Path, kind: str) -> None:
    import diffusers

    path = pipeline / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": kind, "num_train_timesteps": 20}))
    bars = getattr(diffusers, kind).from_pretrained(path.parent).alphas_cumprod
    prior = Prior.from_pretrained(pipeline)
    torch.testing.assert_close(prior.process.alpha[1:].square().float(), bars, rtol=1e-4, atol=1e-6)


def test_what_diffusers_called_predict_epsilon(pipeline: Path) -> None:
    path = pipeline / "scheduler" / "scheduler_config.json"
    for word, target in ((False, "x0"), (True, "eps")):
        rewrite(path, prediction_type=..., predict_epsilon=word)
        assert Prior.from_pretrained(pipeline).config.predicts == target


@pytest.mark.parametrize(
    ("scheduler", "why"),
    [
        ({"num_train_timesteps": 10**9}, "num_train_timesteps is 1000000000: give 1 to 100000 steps"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0: give 1 to"),
        ({"num_train_timesteps": "many"}, "num_train_timesteps is 'many': give a value of type int"),
        ({"beta_start": "x", "beta_schedule": "linear"}, "beta_start is 'x'"),
        ({"trained_betas": [0.1, 2.0]}, "betas must lie between 0 and 1"),
        ({"trained_betas": []}, "at least one step"),
        ({"trained_betas": [[0.1]]}, "trained_betas is"),
        (
            {"beta_schedule": "laplace"},
            "unknown beta_schedule 'laplace' in the scheduler config; known are linear",
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "unknown scheduler 'FlowMatchEulerDiscreteScheduler'",
        ),
        ({"prediction_type": "flow_prediction"}, "unknown prediction_type 'flow_prediction'"),
        (
            {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"},
            "timestep_type is 'continuous'",
        ),
        ({"_class_name": "EDMEulerScheduler", "sigma_min": 0.0}, "must rise from above 0|is not supported"),
    ],
)
def test_schedulers_that_are_refused(
    pipeline: Path, run: Callable[..., tuple[int, str, str]], scheduler: dict, why: str
) -> None:
    path = pipeline / "scheduler" / "scheduler_config.json"
    rewrite(path, **scheduler)
    with pytest.raises(UserError, match=why) as caught:
        Prior.from_pretrained(pipeline)
    assert str(caught.value).startswith(str(path))
