"""Checkpoints as methods' authors publish them become folders of ours by one command.

The golden files hold small networks of the reference implementations under their own names; the published
sizes are built on the meta device, where names, shapes and counts come back from themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from headwater.cli import main
from headwater.data.tokenizer import Tokenizer
from headwater.errors import UserError
from headwater.methods.catalogue import METHODS, trained
from headwater.methods.restoration.palette.method import FittedPalette, Palette
from headwater.methods.restoration.sr3.method import SR3, FittedSR3
from headwater.methods.segmentation.darl.method import DARL, DARLConfig, FittedDARL
from headwater.methods.segmentation.ddpm_cd.method import ChangeDetector, ChangeHead, HeadConfig
from headwater.methods.segmentation.implicit_ensembles.method import (
    FittedImplicitEnsembles,
    ImplicitEnsembles,
)
from headwater.methods.segmentation.segdiff.method import FittedSegDiff, SegDiff
from headwater.methods.series.csdi.method import FittedCSDI
from headwater.methods.series.timegrad.method import FittedTimeGrad, TimeGradNet, TimeGradSizes
from headwater.methods.synthesis.glide.method import FittedGlide, FittedGlideUpsampler, Glide
from headwater.methods.synthesis.glide_inpaint.method import FittedGlideInpaint
from headwater.methods.synthesis.sdm.method import SDM, FittedSDM
from headwater.methods.text.clip_diffusion_lm.method import FittedCaptioner
from headwater.methods.text.diffuseq.method import DiffuSeq, FittedDiffuSeq
from headwater.models import Pretrained
from headwater.models.published import level_network
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.image_conditioned import ConcatenatedUNet
from headwater.nets.level_unet import LevelUNet, LevelUNetConfig, seen_names
from headwater.nets.patch_gan import PatchGAN
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
    "sdm/model": (
        FittedSDM,
        lambda c: {
            "image_size": 16,
            "num_head_channels": c["net"]["num_head_channels"],
            "no_instance": not c["use_instance"],
        },
    ),
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
    "palette/model": (
        FittedPalette,
        lambda c: {
            **{k: v for k, v in c["beta_schedule"]["train"].items() if k != "schedule"},
            "image_size": 16,
            "num_head_channels": c["net"]["num_head_channels"],
        },
    ),
    "ddpm-cd/model": (
        ChangeDetector,
        lambda c: {"t": c["times"], "feat_scales": c["feat_scales"], "output_cm_size": 32, "n_timestep": 10},
    ),
    "darl/model": (FittedDARL, lambda c: {**c["schedule"], "image_size": 32}),
    "timegrad/tiny": (FittedTimeGrad, lambda c: {"freq": "H", "beta_end": c["beta_end"]}),
    "timegrad/tiny_quad": (
        FittedTimeGrad,
        lambda c: {"freq": "D", "lags_seq": [1, 2, 3], "dilation_cycle_length": 3, "beta_schedule": "quad"},
    ),
    "csdi/tiny_quad": (FittedCSDI, lambda c: {k: c[k] for k in ("diffusion", "model")}),
    "csdi/tiny_linear_uncond": (FittedCSDI, lambda c: {k: c[k] for k in ("diffusion", "model")}),
}
HELD = {"unet": "denoise_fn", "generator": "segment_fn"}
"""What the golden file of DARL calls the networks of a generator's file; its discriminators lie in others."""
every = pytest.mark.parametrize("name", GOLDEN)

TABLES = {
    FittedSR3: ("betas", "sqrt_recip_alphas_cumprod"),
    FittedPalette: ("gammas", "posterior_mean_coef1"),
    FittedDARL: ("betas", "posterior_variance"),
    FittedTimeGrad: ("diffusion.betas", "diffusion.sqrt_recip_alphas_cumprod", "scaler.minimum_scale"),
}
"""Tables of the chain that the authors' files hold beside the networks."""
WORDED = (FittedGlide, FittedGlideInpaint, FittedCaptioner, FittedDiffuSeq)
"""What needs a vocabulary beside its file."""


def checkpoint(
    golden: GoldenReader, name: str, tmp_path: Path
) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """The authors' file, the settings that it needs, and its weights."""
    ref = golden(name)
    cls, settings = GOLDEN[name]
    weights = ref.under("w/head" if cls is ChangeDetector else "w")
    if cls is FittedDARL:
        weights = {f"{to}.{k}": v for name, to in HELD.items() for k, v in ref.under(f"w/{name}").items()}
    if cls is FittedTimeGrad:
        weights = {f"denoise_fn.{k}": v for k, v in weights.items()} | recurrent(ref.config["net"], name)
    torch.save(weights | {name: torch.rand(10) for name in TABLES.get(cls, ())}, tmp_path / "theirs.pt")
    words = {"tokenizer": WORDS} if cls in WORDED else {}
    return tmp_path / "theirs.pt", {**settings(ref.config), **words}, weights


def recurrent(net: dict[str, Any], name: str) -> dict[str, Tensor]:
    """What the golden files of TimeGrad, which hold the noise predictor, lack: hours with three lags and
    four numbers of the clock, or days with three and two, an LSTM or a GRU of two layers."""
    D, kind, clock = net["target_dim"], *((nn.LSTM, 4) if name == "timegrad/tiny" else (nn.GRU, 2))
    rnn = kind(4 * D + clock, 6, 2).state_dict()
    condition = nn.Linear(6, net["cond_length"]).state_dict()
    held = {f"rnn.{k}": v for k, v in rnn.items()} | {"embed.weight": torch.rand(D, 1)}
    return held | {f"proj_dist_args.proj.0.{k}": v for k, v in condition.items()}


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
    assert layout.unused("betas")
    assert layout.unused("sqrt_recipm1_alphas_cumprod")


def test_the_reference_codes_palette_is_told_by_its_shapes() -> None:
    """Its network for 256 x 256 has 62.6 million weights, and attention in the middle alone."""
    sizes = UNetConfig(in_channels=6, out_channels=3, **asdict(replace(Palette().network, dropout=0.0)))
    with torch.device("meta"):
        network = ConcatenatedUNet(sizes)
    assert sum(p.numel() for p in network.parameters()) == 62_641_347
    names = {f"denoise_fn.{k.replace('time_', 'cond_')}": v for k, v in shapes(network).items()}
    assert sum("qkv.weight" in name for name in names) == 1
    layout = FittedPalette.published({**names, "gammas": (2000,)}, {"image_size": 256, "task": "uncropping"})
    assert layout.config.network == sizes
    assert (layout.config.tasks, layout.config.power) == (("uncrop",), 2)
    assert {layout.name(name) for name in names} == {f"network.{name}" for name in network.state_dict()}
    for table in ("gammas", "sqrt_recip_gammas", "sqrt_recipm1_gammas", "posterior_mean_coef1"):
        assert layout.unused(table)


@pytest.mark.parametrize(
    ("classes", "edges", "side"),
    [(151, False, 256), (19, True, 256), (34, True, [256, 512])],  # ADE20K, CelebAMask-HQ, Cityscapes
)
def test_the_papers_sdms_are_told_by_their_shapes(classes: int, edges: bool, side: Any) -> None:
    shape = (3, 256, 512 if isinstance(side, list) else 256)
    sizes = SDM().sizes(shape, classes, edges)
    with torch.device("meta"):
        network: Any = FittedSDM.networks(sizes)["network"]
    layout = FittedSDM.published(shapes(network), {"image_size": side, "no_instance": not edges})
    assert layout.config == sizes
    assert {layout.name(k) for k in network.state_dict()} == {f"network.{k}" for k in network.state_dict()}
    if classes == 151:  # the second is the same network with plain norms
        counts = [sum(p.numel() for p in one.parameters()) for one in (network, _plain(sizes.network))]
        assert counts == [660_608_518, 552_814_086]


def _plain(config: UNetConfig) -> UNet:
    with torch.device("meta"):
        return UNet(config)


def test_the_heads_of_ddpm_cd_and_its_prior_are_told_by_their_shapes() -> None:
    sizes = HeadConfig((1024, 1024, 512, 256, 128), 3, reference=True)
    prior = LevelUNetConfig(128, (1, 2, 4, 8, 8), 2, (16,), in_channels=3)
    with torch.device("meta"):
        head, network = ChangeHead(sizes), LevelUNet(prior)
    settings = {"t": [50, 100, 400], "feat_scales": [14, 11, 8, 5, 2], "output_cm_size": 256}
    config = ChangeDetector.published(shapes(head), settings).config
    assert (config.head, config.shape, config.blocks) == (sizes, (3, 256, 256), (0, 3, 6, 9, 12))
    assert [round(level, 4) for level in config.signal_levels] == [0.997, 0.9878, 0.8192]
    # The sheet of the paper says 46.4 and 391.0 million.
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 1) == 46.4
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 391.0
    back = {name: name.replace("downs.0.", "init_conv.", 1) for name in shapes(network)}
    theirs = {
        new
        if new.startswith("init_conv.")
        else re.sub(r"^downs\.(\d+)", lambda m: f"downs.{int(m[1]) - 1}", new): shape
        for (_, new), shape in zip(back.items(), shapes(network).values(), strict=True)
    }
    assert level_network(theirs) == prior
    assert {seen_names(name) for name in theirs} == set(shapes(network))


def test_the_papers_timegrads_are_told_by_their_shapes() -> None:
    """Of hourly electricity and solar power, both copies of the noise predictor in the file."""
    for D, inputs in ((370, 1484), (137, 552)):
        with torch.device("meta"):
            network = TimeGradNet(TimeGradSizes(D, 3, 4))
        own = shapes(network)
        assert own["rnn.weight_ih_l0"] == (160, inputs)
        theirs = {k.replace("condition.", "proj_dist_args.proj.0."): v for k, v in own.items()}
        theirs |= {f"diffusion.{k}": v for k, v in own.items() if k.startswith("denoise_fn.")}
        theirs["diffusion.betas"] = (100,)
        layout = FittedTimeGrad.published(theirs, {"freq": "H"})
        assert layout.config.network == TimeGradSizes(D, 3, 4)
        named = {layout.name(k) for k in theirs if not layout.unused(k)}
        assert named == {f"network.{name}" for name in own}
    with torch.device("meta"):
        count = sum(p.numel() for p in TimeGradNet(TimeGradSizes(7, 1, condition=20)).denoise_fn.parameters())
    assert count == 15_372


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


def test_the_networks_of_darl_are_told_by_their_shapes() -> None:
    """27.4 million parameters, 7.9 of the generator and 2.8 of either discriminator, as published."""
    method = DARL()
    sizes = LevelUNetConfig(**asdict(method.network), in_channels=1, out_channels=1, told="timestep")
    with torch.device("meta"):
        network: Any = FittedDARL.networks(DARLConfig(sizes, method.generator))["network"]
        judge = PatchGAN(method.discriminator)
    names = shapes(network)
    assert names["denoise_fn.time_mlp.1.weight"] == (256, 64)
    assert names["denoise_fn.downs.1.res_block.mlp.1.weight"] == (64, 64)
    assert names["segment_fn.up_0.conv_s.weight_orig"] == (128, 256, 1, 1)
    assert names["segment_fn.up_0.conv_s.weight_u"] == (128,)
    counts = [sum(p.numel() for p in n.parameters()) for n in (network.denoise_fn, network.segment_fn, judge)]
    assert counts == [27_432_513, 7_936_513, 2_762_689]
    layout = FittedDARL.published({**names, "betas": (2000,)}, {"image_size": 256})
    assert layout.config == DARLConfig(sizes, method.generator)
    assert {layout.name(name) for name in names} == {f"network.{name}" for name in names}
    assert layout.unused("betas")
