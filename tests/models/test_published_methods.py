"""Checkpoints as methods' authors publish them become folders of ours by one command.

The golden files hold small networks of the reference implementations under their own names; the published
sizes are built on the meta device, where names, shapes and counts come back from themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from headwater.cli import main
from headwater.data.tokenizer import Tokenizer
from headwater.errors import UserError
from headwater.methods.catalogue import METHODS, trained
from headwater.methods.restoration.sr3.method import SR3, FittedSR3
from headwater.methods.segmentation.implicit_ensembles.method import (
    FittedImplicitEnsembles,
    ImplicitEnsembles,
)
from headwater.methods.segmentation.segdiff.method import FittedSegDiff, SegDiff
from headwater.methods.series.csdi.method import FittedCSDI
from headwater.methods.synthesis.glide.method import FittedGlide, FittedGlideUpsampler, Glide
from headwater.methods.synthesis.glide_inpaint.method import FittedGlideInpaint
from headwater.methods.text.clip_diffusion_lm.method import FittedCaptioner
from headwater.methods.text.diffuseq.method import DiffuSeq, FittedDiffuSeq
from headwater.models import Pretrained
from headwater.nets.level_unet import LevelUNet, LevelUNetConfig
from headwater.nets.text2im import InpaintText2Im, SuperResText2Im, Text2Im, Text2ImConfig
from headwater.nets.text_denoiser import TextDenoiser

GoldenReader = Callable[[str], Any]
WORDS = Tokenizer.train(["a red", "a blue"], 12, "word")

GOLDEN: dict[str, tuple[type[Pretrained], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "glide/text2im": (FittedGlide, lambda c: {"num_heads": c["net"]["heads"], "xf_heads": c["xf_heads"]}),
    "glide/inpaint": (
        FittedGlideInpaint,
        lambda c: {"num_heads": c["net"]["heads"], "xf_heads": c["xf_heads"]},
    ),
    "segdiff/model": (FittedSegDiff, lambda c: {"image_size": 16, "num_heads": c["net"]["num_heads"]}),
    "implicit-ensembles/model": (FittedImplicitEnsembles, lambda c: {"image_size": 16, "num_heads": 1}),
    "diffuseq/tiny": (FittedDiffuSeq, lambda c: {"num_heads": c["heads"], "diffusion_steps": c["T"]}),
    "clip-diffusion-lm/concat": (
        FittedCaptioner,
        lambda c: {"heads": c["heads"], "length": c["length"], "side": 8},
    ),
    "clip-diffusion-lm/add_guided": (FittedCaptioner, lambda c: {"heads": c["heads"], "length": c["length"]}),
    "clip-diffusion-lm/trained_embedding_xt": (
        FittedCaptioner,
        lambda c: {"heads": c["heads"], "length": c["length"]},
    ),
    "super-resolution/sr3_model": (
        FittedSR3,
        lambda c: {
            **{k: v for k, v in c["schedule"].items() if k != "schedule"},
            "image_size": 16,
            "norm_groups": c["net"]["norm_groups"],
        },
    ),
    "csdi/tiny_quad": (FittedCSDI, lambda c: {k: c[k] for k in ("diffusion", "model")}),
    "csdi/tiny_linear_uncond": (FittedCSDI, lambda c: {k: c[k] for k in ("diffusion", "model")}),
}
every = pytest.mark.parametrize("name", GOLDEN)


def checkpoint(
    golden: GoldenReader, name: str, tmp_path: Path
) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """The authors' file, the settings that it needs, and its weights."""
    ref = golden(name)
    cls, settings = GOLDEN[name]
    torch.save(ref.under("w"), tmp_path / "theirs.pt")
    words = (
        {} if cls in (FittedCSDI, FittedSegDiff, FittedImplicitEnsembles, FittedSR3) else {"tokenizer": WORDS}
    )
    return tmp_path / "theirs.pt", {**settings(ref.config), **words}, ref.under("w")


@every
def test_every_number_arrives_and_is_kept(name: str, golden: GoldenReader, tmp_path: Path) -> None:
    cls = GOLDEN[name][0]
    path, settings, weights = checkpoint(golden, name, tmp_path)
    made = cls.from_published(path, settings)
    mine = sorted(float(v.double().sum()) for v in made.network.state_dict().values())
    once = {id(v): v for k, v in weights.items() if k not in ("position_ids", "lm_head.bias")}
    tied = "diffuseq" in name
    theirs = [v for k, v in weights.items() if id(v) in once and not (tied and k == "lm_head.weight")]
    theirs += [weights["lm_head.bias"]] if tied else []
    assert mine == pytest.approx(sorted(float(v.double().sum()) for v in theirs))
    assert not made.network.training
    made.save_pretrained(tmp_path / "ours")
    again = cls.from_pretrained(tmp_path / "ours").root().state_dict()
    assert all(torch.equal(again[k], v) for k, v in made.root().state_dict().items())


@every
def test_other_files_are_refused(name: str, golden: GoldenReader, tmp_path: Path) -> None:
    cls = GOLDEN[name][0]
    path, settings, weights = checkpoint(golden, name, tmp_path)
    for change in (
        lambda w: w.pop(sorted(w)[-1]),
        lambda w: w.update({"more": torch.ones(3)}),
        lambda w: w.update({sorted(w)[0]: torch.ones(7, 5)}),
        lambda w: w.clear() or w.update({"fc.weight": torch.ones(2, 2)}),
    ):
        wrong = dict(weights)
        change(wrong)
        torch.save(wrong, path)
        with pytest.raises(UserError) as refused:
            cls.from_published(path, settings)
        assert "\n" not in str(refused.value)


def test_output_words_must_be_the_word_vectors(golden: GoldenReader, tmp_path: Path) -> None:
    path, settings, weights = checkpoint(golden, "diffuseq/tiny", tmp_path)
    torch.save({**weights, "lm_head.weight": weights["lm_head.weight"] + 1}, path)
    with pytest.raises(UserError, match="holds other numbers"):
        FittedDiffuSeq.from_published(path, settings)
    path, settings, weights = checkpoint(golden, "clip-diffusion-lm/concat", tmp_path)
    torch.save({**weights, "lm_head.bias": torch.ones(19)}, path)
    with pytest.raises(UserError, match="holds other numbers"):
        FittedCaptioner.from_published(path, settings)


def test_converted_by_one_command(
    golden: GoldenReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, settings, _ = checkpoint(golden, "csdi/tiny_quad", tmp_path)
    named = {**settings, "columns": list("abcd"), "mean": [1.0] * 4, "std": [2.0] * 4, "length": 7}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(named))
    words = ["convert", str(path), str(tmp_path / "out"), "--as", "csdi"]
    assert main([*words, "--settings", str(tmp_path / "base.yaml")]) == 0
    config = FittedCSDI.from_pretrained(tmp_path / "out").config
    assert (config.columns, config.length, config.scale.std.tolist()) == (tuple("abcd"), 7, [2.0] * 4)
    assert main(["inspect", str(tmp_path / "out")]) == 0
    assert "headwater csdi" in capsys.readouterr().out
    for kind, said in (
        ("csdj", "did you mean 'csdi'"),
        ("repaint", "trains nothing"),
        ("d3pm", "no published layout"),
    ):
        assert main(["convert", str(path), str(tmp_path / "no"), "--as", kind]) == 1
        assert said in capsys.readouterr().err
    assert main([*words[:2], str(tmp_path / "no"), "--as", "csdi"]) == 1
    assert "take the reference's YAML file" in capsys.readouterr().err


def test_every_layout_is_tested() -> None:
    known = {cls for name in METHODS if (cls := trained(name)) and "published" in vars(cls)}
    assert known <= {cls for cls, _ in GOLDEN.values()}


def shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("cls", "net", "reads", "changes", "side", "schedule"),
    [
        (FittedGlide, Text2Im, 3, {}, 64, "cosine"),
        (FittedGlideInpaint, InpaintText2Im, 7, {}, 64, "cosine"),
        (
            FittedGlideUpsampler,
            SuperResText2Im,
            6,
            {"channel_mult": (1, 1, 2, 2, 4, 4), "num_res_blocks": 2, "attention_resolutions": (8, 16, 32)},
            256,
            "linear",
        ),
    ],
)
def test_the_released_glides_are_told_by_their_shapes(
    cls: type[FittedGlide], net: Any, reads: int, changes: dict[str, Any], side: int, schedule: str
) -> None:
    sizes = replace(Glide().sizes(3, reads, 50257), dropout=0.0, **changes)
    with torch.device("meta"):
        network = net(sizes)
    layout = cls.published(shapes(network), {"tokenizer": WORDS})
    found: Text2ImConfig = layout.config.network
    assert found == sizes
    assert (layout.config.shape, layout.config.betas, layout.config.T) == ((3, side, side), schedule, 1000)
    assert {layout.name(k) for k in network.state_dict()} == {f"network.{k}" for k in network.state_dict()}
    assert sum(p.numel() for p in network.parameters()) == {64: 385_030_726, 256: 398_361_286}[side] + (
        4 * 192 * 9 if reads == 7 else 0
    )


@pytest.mark.parametrize("method", [SegDiff(), ImplicitEnsembles()])
def test_the_papers_mask_networks_are_told_by_their_shapes(method: Any) -> None:
    cls = FittedSegDiff if isinstance(method, SegDiff) else FittedImplicitEnsembles
    with torch.device("meta"):
        network: Any = cls.networks(method.sizes((3, 128, 128), 2))["network"]
    layout = cls.published(shapes(network), {"image_size": 128})
    assert layout.config.network == replace(network.config, dropout=0.0)
    assert (layout.config.T, layout.config.shape) == (method.T, (3, 128, 128))


@pytest.mark.parametrize(
    ("changes", "side", "groups"),
    [
        ({}, 128, 32),  # 16 to 128 pixels
        (
            {
                "channel_mult": (1, 2, 4, 8, 16),
                "num_res_blocks": 1,
                "attention_resolutions": (),
                "groups": 16,
            },
            512,
            16,
        ),
    ],
)
def test_the_networks_of_sr3s_configurations_are_told_by_their_shapes(
    changes: dict[str, Any], side: int, groups: int
) -> None:
    sizes = replace(LevelUNetConfig(**asdict(SR3().network)), dropout=0.0, **changes)
    with torch.device("meta"):
        network = LevelUNet(sizes)
    names = {f"denoise_fn.{name}": shape for name, shape in shapes(network).items()}
    layout = FittedSR3.published({**names, "betas": (2000,)}, {"image_size": side, "norm_groups": groups})
    assert layout.config.network == sizes
    assert {layout.name(name) for name in names} == {f"network.{name}" for name in network.state_dict()}
    assert layout.name("betas") is None
    assert layout.name("sqrt_recipm1_alphas_cumprod") is None


def test_the_papers_diffuseq_is_told_by_its_shapes() -> None:
    with torch.device("meta"):
        network = TextDenoiser(replace(DiffuSeq().sizes(30522), length=512))
    assert sum(p.numel() for p in network.parameters()) == 91_225_274
    back = {
        "table": "word_embedding.weight",
        "bias": "lm_head.bias",
        "position": "position_embeddings.weight",
    }
    theirs = {back.get(k, k): v for k, v in shapes(network).items()}
    theirs |= {f"input_transformers.layer.{i}.x": (1,) for i in range(12)}
    theirs["input_transformers.layer.0.intermediate.dense.weight"] = (3072, 768)
    theirs["time_embed.0.weight"] = theirs["time.0.weight"]
    config = FittedDiffuSeq.published(theirs, {"tokenizer": WORDS}).config
    assert config.network == network.config
    assert (config.T, config.length, config.schedule) == (2000, 128, "sqrt")
