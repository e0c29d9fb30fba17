"""Weights of diffusers as they lie in folders: variants, several files, pickles, old names."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from checkpoint_files import OLD, STEM, answer, only, rewrite, same, shard
from headwater.errors import UserError
from headwater.models import Prior, inspect

# Variants and files


@pytest.mark.parametrize(
    ("variants", "taken"),
    [
        ({"fp16": torch.float16}, "fp16 is taken, as float32"),
        ({"bf16": torch.bfloat16}, "bf16 is taken, as float32"),
        ({"bf16": torch.bfloat16, "fp16": torch.float16}, "fp16 is taken, not bf16, as float32"),
        ({"ema": torch.float32}, "ema is taken, as float32"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("ext", ["safetensors", "bin"])
def test_variants(
    pipeline: Path, state: dict[str, Tensor], notes: Callable[[], str], variants: dict, taken: str, ext: str
) -> None:
    only(
        pipeline / "unet",
        **{f"{v}_{ext}": {k: t.to(d) for k, t in state.items()} for v, d in variants.items()},
    )
    prior = Prior.from_pretrained(pipeline)
    assert notes() == f"{pipeline}: only variants of its weights lie here: {taken}"
    dtype = torch.float32 if "ema" in variants else variants.get("fp16", torch.bfloat16)
    for name, value in prior.network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name].to(dtype).float()), name


def test_variants_answer_as_in_diffusers(pipeline: Path, state: dict[str, Tensor]) -> None:
    from diffusers import UNet2DModel

    only(pipeline / "unet", fp16_safetensors={k: v.half() for k, v in state.items()})
    theirs = UNet2DModel.from_pretrained(pipeline / "unet", variant="fp16").eval()
    assert (answer(Prior.from_pretrained(pipeline).network) - answer(theirs)).abs().max() < 1e-6


def test_weights_without_a_variant_go_first(
    pipeline: Path, state: dict[str, Tensor], notes: Callable[[], str]
) -> None:
    zeros = {k: torch.zeros_like(v) for k, v in state.items()}
    wanted = answer(Prior.from_pretrained(pipeline).network)
    only(pipeline / "unet", fp16_safetensors=zeros, safetensors=state, bin=zeros)
    assert torch.equal(answer(Prior.from_pretrained(pipeline).network), wanted)
    assert notes() == ""


def test_other_variants_are_asked_for_and_can_be_given(pipeline: Path, state: dict[str, Tensor]) -> None:
    wanted = answer(Prior.from_pretrained(pipeline).network)
    zeros = {k: torch.zeros_like(v) for k, v in state.items()}
    only(pipeline / "unet", ema_safetensors=state, non_ema_safetensors=zeros)
    with pytest.raises(
        UserError, match=r"several variants \(.*ema.safetensors, .*non_ema.*give the file that"
    ):
        Prior.from_pretrained(pipeline)
    given = Prior.from_pretrained(pipeline / "unet" / f"{STEM}.ema.safetensors")
    assert torch.equal(answer(given.network), wanted)
    assert (given.process.T, given.config.predicts) == (20, "v")


@pytest.mark.parametrize(("ext", "variant"), [("safetensors", ""), ("safetensors", "fp16"), ("bin", "")])
def test_weights_in_several_files(
    pipeline: Path, made: Path, notes: Callable[[], str], ext: str, variant: str
) -> None:
    index = shard(pipeline / "unet", ext, variant)
    assert same(pipeline, made)
    assert (f"{variant} is taken" in notes()) == bool(variant)
    held = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    lines = "".join(f"{hashlib.sha256((index.parent / n).read_bytes()).hexdigest()}  {n}\n" for n in held)
    report = inspect(pipeline)
    assert report.sha256 == hashlib.sha256(lines.encode()).hexdigest() == Prior.from_pretrained(pipeline).hash
    assert report.bytes == sum((index.parent / name).stat().st_size for name in held)
    assert report.tensors == inspect(made).tensors
    with pytest.raises(UserError, match="is one of 2 files of the same weights: give their index"):
        Prior.from_pretrained(index.parent / held[0])
    assert same(index, made)


def test_diffusers_own_shards_are_read(pipeline: Path, made: Path) -> None:
    from diffusers import UNet2DModel

    unet = UNet2DModel.from_pretrained(pipeline / "unet")
    only(pipeline / "unet")
    unet.save_pretrained(pipeline / "unet", max_shard_size="5KB", variant="fp32")
    assert len(list((pipeline / "unet").glob("*.safetensors"))) > 1
    assert same(pipeline, made)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (
            lambda u, m: (u / sorted(m.values())[0]).unlink(),
            r"names 2 files, and 1 of them are missing \(diff",
        ),
        (
            lambda u, m: m.update(dict.fromkeys(m, "../x.safetensors")),
            r"names '\.\./x\.safetensors', which is outs",
        ),
        (lambda u, m: m.update(dict.fromkeys(m, "/etc/passwd")), "names '/etc/passwd', which is outside its"),
        (lambda u, m: m.update({"more.weight": sorted(m.values())[0]}), "holds more.weight, and it does not"),
        (lambda u, m: m.pop("conv_in.weight"), "does not name conv_in.weight, which its files hold"),
        (lambda u, m: m.clear(), "does not say which file holds which tensor"),
        (lambda u, m: shutil.copy(u / min(m.values()), u / max(m.values())), "holds .* holds too"),
        (lambda u, m: m.update({"conv_in.weight": 3}), "does not say which file holds which tensor"),
    ],
)
def test_broken_sets_of_files(pipeline: Path, spoil: Callable[..., Any], why: str) -> None:
    index = shard(pipeline / "unet")
    places = json.loads(index.read_text())["weight_map"]
    spoil(index.parent, places)
    rewrite(index, weight_map=places)
    with pytest.raises(UserError, match=why):
        Prior.from_pretrained(pipeline)


def test_one_file_beside_a_set_of_files(pipeline: Path, made: Path) -> None:
    index = shard(pipeline / "unet")
    shutil.copy(made / "unet" / f"{STEM}.safetensors", index.parent)
    with pytest.raises(
        UserError, match=r"holds two sets of weights \(.*\): remove the one that is old, or give"
    ):
        Prior.from_pretrained(pipeline)
    assert same(index, made)


def test_files_without_their_index(pipeline: Path) -> None:
    shard(pipeline / "unet").unlink()
    with pytest.raises(
        UserError, match=r"and no index of such files, diffusion_.*index\.json: download it too"
    ):
        Prior.from_pretrained(pipeline)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("model.safetensors", "but model.safetensors: if these are its weights, give that file"),
        ("diffusion_flax_model.msgpack", "has Flax weights only"),
        ("notes.txt", "has no weights, such as diffusion_pytorch_model.safetensors"),
    ],
)
def test_weights_of_another_name(pipeline: Path, made: Path, name: str, why: str) -> None:
    (pipeline / "unet" / f"{STEM}.safetensors").rename(pipeline / "unet" / name)
    with pytest.raises(UserError, match=why):
        Prior.from_pretrained(pipeline)
    if name == "model.safetensors":
        assert same(pipeline / "unet" / name, made)


# Old names


@pytest.mark.parametrize("form", ["linear", "conv1d", "conv2d", "bin"])
def test_attention_under_its_old_names(
    pipeline: Path, made: Path, state: dict[str, Tensor], form: str
) -> None:
    from diffusers import UNet2DModel

    old: dict[str, Tensor] = {}
    for name, value in state.items():
        for new, before in OLD.items():
            if f".{new}." in name and "attentions" in name:
                name = name.replace(f".{new}.", f".{before}.")
                if name.endswith("weight"):
                    value = value.reshape(*value.shape, *(1,) * {"conv1d": 1, "conv2d": 2}.get(form, 0))
        old[name] = value
    assert old.keys() != state.keys()
    only(pipeline / "unet", **{"bin" if form == "bin" else "safetensors": old})
    assert same(pipeline, made)
    if form == "linear":
        theirs = UNet2DModel.from_pretrained(pipeline / "unet").eval()
        assert (answer(Prior.from_pretrained(pipeline).network) - answer(theirs)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda s: s.pop("conv_in.bias"),
            "described: conv_in.bias is missing; put the config.json that was saved",
        ),
        (lambda s: s.update(extra=torch.ones(2)), "described: extra has no place; put"),
        (
            lambda s: s.update({"conv_in.weight": torch.ones(8, 1, 3, 3)}),
            r"conv_in.weight has shape \[8, 1, 3, 3\] where \[4, 1, 3, 3\] is needed; put",
        ),
        (
            lambda s: [s.pop(k) for k in list(s) if "mid_block" in k],
            r"described: \d\d tensors \(mid_block.* are mi",
        ),
        (
            lambda s: s.update({"a.processor.to_q_lora.down.weight": torch.ones(2)}),
            "LoRA layers, which change",
        ),
        (lambda s: s.update({"conv_in.weight": s["conv_in.weight"].char()}), "is of type int8, as quantised"),
    ],
)
def test_what_does_not_fit_is_said(
    pipeline: Path, state: dict[str, Tensor], change: Callable[..., Any], why: str
) -> None:
    change(state)
    only(pipeline / "unet", safetensors=state)
    with pytest.raises(UserError, match=why):
        Prior.from_pretrained(pipeline)


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"brand_new": None}, ""),
        ({"decay": 0.99, "use_ema_warmup": False, "optimization_step": 9, "power": 0.75}, ""),
        (
            {"brand_new": 3},
            "unknown field 'brand_new' = '3' of UNet2DModel: if its network does without, remove",
        ),
        ({"block_out_chanels": [4]}, "did you mean 'block_out_channels'"),
    ],
)
def test_fields_that_are_not_known(pipeline: Path, notes: Callable[[], str], extra: dict, why: str) -> None:
    rewrite(pipeline / "unet" / "config.json", **extra)
    if why:
        with pytest.raises(UserError, match=why):
            Prior.from_pretrained(pipeline)
    else:
        Prior.from_pretrained(pipeline)
        assert ("names brand_new, which UNet2DModel does not know, as null" in notes()) == (
            "brand_new" in extra
        )
