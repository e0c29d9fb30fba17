"""Weights files by themselves: as trainers wrap them, and what stands in their place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from checkpoint_files import STEM, TRAINED, only, rewrite, same
from headwater.errors import UserError
from headwater.models import Prior, inspect
from headwater.nets.adm import UNet, UNetConfig

# Weights files by themselves

SMALL = UNetConfig(
    in_channels=1,
    model_channels=32,
    out_channels=1,
    num_res_blocks=1,
    attention_resolutions=(),
    channel_mult=(1,),
)


@pytest.fixture(scope="module")
def adm() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {k: torch.randn_like(v) * 0.05 for k, v in UNet(SMALL).state_dict().items()}


def zeros(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: torch.zeros_like(v) for k, v in state.items()}


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{k}": v for k, v in state.items()}


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s: under("module.", s), ""),
        (lambda s: under("_orig_mod.", s), ""),
        (lambda s: under("module._orig_mod.", s), ""),
        (lambda s: under("_orig_mod.module.", s), ""),
        (lambda s: {k.replace("time_embed.", "time_embed._orig_mod."): v for k, v in s.items()}, ""),
        (lambda s: {"state_dict": under("model.", s), "epoch": 3, "global_step": 9}, ""),
        (lambda s: {"state_dict": under("model.diffusion_model.", s)}, ""),
        (
            lambda s: {"state_dict": {"betas": torch.ones(9), **under("unet.", s)}},
            "the network under 'unet' is taken, and 1 other tensors (betas, ...) are not",
        ),
        (
            lambda s: {"state_dict": under("model.", zeros(s)) | under("ema_model.module.", s)},
            "the network under 'ema_model.module' is taken, and",
        ),
        (
            lambda s: {"model": zeros(s), "ema": s},
            "the averaged weights (ema) are taken, not those under 'model'",
        ),
        (
            lambda s: {"net": zeros(s), "model_ema": {"module": s}},
            "(model_ema.module) are taken, not those under 'net'",
        ),
        (lambda s: {"ema": {"decay": 0.9, "shadow": s}, "step": 3}, ""),
        (lambda s: {"state_dict": {"model": s}}, ""),
    ],
)
def test_wrappings_of_weights(
    adm: dict[str, Tensor], tmp_path: Path, notes: Callable[[], str], wrap: Callable[..., Any], said: str
) -> None:
    torch.save(wrap(adm), tmp_path / "x.ckpt")
    prior = Prior.from_pretrained(tmp_path / "x.ckpt", shape=(1, 8, 8), betas="cosine", predicts="v")
    for name, value in prior.network.state_dict().items():
        assert torch.equal(value, adm[name]), name
    heard = notes()
    assert said in heard if said else heard == ""
    assert said in inspect(tmp_path / "x.ckpt").remark


@pytest.mark.parametrize(
    ("wrap", "why"),
    [
        (
            lambda s: {"model": s, "net": s},
            r"several sets of weights \(model, net\): save the one that you want alone",
        ),
        (
            lambda s: under("a.", s) | under("b.", s),
            r"several networks \(a, b\): save the one that you want in a",
        ),
        (
            lambda s: under("model.", s) | {"first_stage_model.w": torch.ones(2)},
            "is a latent diffusion model",
        ),
        (
            lambda s: {"state": {0: {"exp_avg": s["out.2.bias"]}}, "param_groups": []},
            "the state of an optimiser",
        ),
        (lambda s: s | under("_orig_mod.", s), "holds a tensor twice, compiled and not: keep one"),
        (lambda s: {k: v for k, v in s.items() if "out.2" not in k}, "no guided-diffusion network"),
    ],
)
def test_wrappings_that_are_asked_about(
    adm: dict[str, Tensor], tmp_path: Path, wrap: Callable[..., Any], why: str
) -> None:
    torch.save(wrap(adm), tmp_path / "x.pt")
    with pytest.raises(UserError, match=why):
        Prior.from_pretrained(tmp_path / "x.pt", shape=(1, 8, 8))


def test_what_a_weights_file_does_not_say_is_said(
    adm: dict[str, Tensor], tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    path = tmp_path / "x.pt"
    torch.save(adm, path)
    code, _, err = run("sample", path, "--n", 1, "--steps", 2, "--out", tmp_path / "drawn")
    assert code == 1
    assert "say it by headwater convert PRIOR NEW --shape 1 HEIGHT WIDTH and use NEW" in err
    code, _, err = run("convert", path, tmp_path / "sized", "--shape", 1, 8, 8)
    assert code == 0
    assert "assumed: linear schedule of 1000 steps, eps as the answer; if it was trained otherwise" in err
    (tmp_path / "scheduler_config.json").write_text(json.dumps(TRAINED))
    told = ("--shape", 1, 8, 8, "--scheduler", tmp_path)
    assert run("convert", path, tmp_path / "new", *told) == (0, f"headwater: {tmp_path / 'new'}\n", "")
    config = Prior.from_pretrained(tmp_path / "new").config
    assert (config.process.T, config.process.betas, config.predicts) == (20, "cosine", "v")
    assert run("sample", tmp_path / "new", "--n", 1, "--steps", 2, "--out", tmp_path / "drawn")[0] == 0


def test_a_u_net_of_diffusers_without_its_config(
    state: dict[str, Tensor], made: Path, tmp_path: Path
) -> None:
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(
        UserError, match=r"is of diffusers' UNet2DModel: put its config.json beside it, then give it"
    ):
        Prior.from_pretrained(tmp_path / "x.safetensors")
    shutil.copy(made / "unet" / "config.json", tmp_path)
    assert same(tmp_path / "x.safetensors", made)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 22020\n"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (POINTER, "is a pointer of Git LFS, not the file itself: run git lfs pull there"),
        (b"<!DOCTYPE html>\n<html>", "is a web page, saved in place of the file"),
        (b"\n <HTML><head>", "is a web page"),
        (b"", "is empty: download or copy it again"),
        (b"\x1f\x8b\x08" + bytes(300), "is compressed by gzip: unpack it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(300), "is an HDF5 file"),
        (bytes(257) + b"ustar" + bytes(300), "is a tar archive"),
        (b"GGUF" + bytes(30), "is a GGUF file"),
        (b"Entry not found", "is neither a safetensors file nor one of torch.save"),
    ],
)
def test_what_stands_in_for_weights(pipeline: Path, raw: bytes, why: str) -> None:
    path = pipeline / "unet" / f"{STEM}.safetensors"
    path.write_bytes(raw)
    with pytest.raises(UserError, match=why) as caught:
        Prior.from_pretrained(pipeline)
    assert str(caught.value).startswith(str(path))


def test_cut_weights_a_zipped_folder_and_a_pointer_in_our_own_folder(pipeline: Path, tmp_path: Path) -> None:
    Prior.from_pretrained(pipeline).save_pretrained(tmp_path / "ours")
    (tmp_path / "ours" / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(UserError, match="is a pointer of Git LFS"):
        Prior.from_pretrained(tmp_path / "ours")
    shutil.make_archive(str(tmp_path / "zipped"), "zip", pipeline)
    with pytest.raises(UserError, match=r"is a zip archive of files such as .*: unpack it, give its folder"):
        Prior.from_pretrained(tmp_path / "zipped.zip")
    path = pipeline / "unet" / f"{STEM}.safetensors"
    path.write_bytes(path.read_bytes()[:-99])
    with pytest.raises(UserError, match="is not as long as its header says: get another copy"):
        Prior.from_pretrained(pipeline)


@pytest.mark.parametrize(
    "dtype",
    [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32, torch.uint64, torch.complex64],
)
def test_types_that_no_network_has(pipeline: Path, state: dict[str, Tensor], dtype: torch.dtype) -> None:
    only(pipeline / "unet", safetensors={**state, "conv_in.weight": state["conv_in.weight"].to(dtype)})
    with pytest.raises(
        UserError, match=r"'conv_in.weight' is of type \w+, which is not read: save it in float32"
    ):
        Prior.from_pretrained(pipeline)


def test_only_pictures_are_drawn(
    pipeline: Path, state: dict[str, Tensor], run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    rewrite(pipeline / "unet" / "config.json", in_channels=2, out_channels=2)
    for name in ("conv_in.weight", "conv_out.weight", "conv_out.bias"):
        axis = 1 if name == "conv_in.weight" else 0
        state[name] = torch.cat([state[name]] * 2, axis)
    only(pipeline / "unet", safetensors=state)
    assert Prior.from_pretrained(pipeline).sample(1, 2, seed=0).shape == (1, 2, 8, 8)
    code, _, err = run("sample", pipeline, "--n", 1, "--steps", 2, "--out", tmp_path / "drawn")
    assert code == 1
    assert "draws 2 channels, and a picture has 1 or 3: draw arrays with Prior.sample" in err
    assert not (tmp_path / "drawn").exists()
