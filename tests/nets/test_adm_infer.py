"""The architecture read back from names and shapes; the published models."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_classifier import Classifier, ClassifierConfig
from headwater.nets.adm_published import CLASSIFIERS, UNETS
from headwater.nets.infer import infer_classifier_config, infer_config

AMBIGUOUS = (
    "num_heads",
    "num_head_channels",
    "num_heads_upsample",
    "use_new_attention_order",
    "dropout",
)


@st.composite
def architectures(draw: st.DrawFn) -> dict[str, object]:
    levels = draw(st.integers(1, 4))
    updown = levels > 1 and draw(st.booleans())
    head_channels = draw(st.sampled_from([-1, 8, 16, 32]))
    return {
        "in_channels": draw(st.integers(1, 6)),
        "model_channels": draw(st.sampled_from([32, 64])),
        "out_channels": draw(st.integers(1, 6)),
        "num_res_blocks": draw(st.integers(1, 4)),
        "attention_resolutions": tuple(2**i for i in range(levels) if draw(st.booleans())),
        "channel_mult": tuple(draw(st.sampled_from([1, 2, 3, 1.5])) for _ in range(levels)),
        "dropout": draw(st.sampled_from([0.0, 0.1])),
        "resblock_updown": updown,
        "conv_resample": updown or levels == 1 or draw(st.booleans()),
        "num_heads": 1 if head_channels > 0 else draw(st.sampled_from([1, 2, 4])),
        "num_head_channels": head_channels,
        "use_scale_shift_norm": draw(st.booleans()),
        "use_new_attention_order": draw(st.booleans()),
    }


def widened(fields: dict[str, object]) -> dict[str, object]:
    """Group norm wants multiples of 32: a factor 1.5 needs 64 channels to start with."""
    return {**fields, "model_channels": 64} if 1.5 in fields["channel_mult"] else fields  # type: ignore[operator]


@settings(max_examples=25, deadline=None)
@given(architectures(), st.sampled_from([None, 3]), st.sampled_from([-1, 2]))
def test_a_unet_is_read_back(fields: dict[str, object], classes: int | None, upsample: int) -> None:
    config = UNetConfig(
        **widened(fields),  # type: ignore[arg-type]
        num_classes=classes,
        num_heads_upsample=upsample if fields["num_head_channels"] == -1 else -1,
    )
    with torch.device("meta"):
        state = UNet(config).state_dict()
    known = {name: getattr(config, name) for name in AMBIGUOUS}
    assert infer_config(state, **known) == config
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert replace(infer_config(shapes), **known) == config
    assert UNetConfig(**json.loads(json.dumps(asdict(config)))) == config


@settings(max_examples=25, deadline=None)
@given(architectures(), st.sampled_from(["adaptive", "attention", "spatial", "spatial_v2"]))
def test_a_classifier_is_read_back(fields: dict[str, object], pool: str) -> None:
    fields = widened(fields)
    if pool == "attention":
        fields |= {"num_heads": 1, "num_head_channels": 16}
    size = 16 if pool == "attention" else None
    config = ClassifierConfig(**fields, pool=pool, image_size=size)  # type: ignore[arg-type]
    with torch.device("meta"):
        state = Classifier(config).state_dict()
    known = {name: getattr(config, name) for name in AMBIGUOUS if hasattr(config, name)}
    known["num_res_blocks"] = config.num_res_blocks
    assert infer_classifier_config(state, **known) == config


@pytest.mark.parametrize("name", UNETS)
def test_published_unets_need_no_override(name: str) -> None:
    config = UNETS[name]
    with torch.device("meta"):
        state = UNet(config).state_dict()
    assert infer_config(state, dropout=config.dropout) == config


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_published_classifiers_need_no_override(name: str) -> None:
    with torch.device("meta"):
        state = Classifier(CLASSIFIERS[name]).state_dict()
    assert infer_classifier_config(state) == CLASSIFIERS[name]


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("64x64_diffusion", 296),
        ("128x128_diffusion", 422),
        ("256x256_diffusion", 554),
        ("512x512_diffusion", 559),
        ("64_256_upsampler", 312),
        ("128_512_upsampler", 309),
        ("64x64_classifier", 65),
        ("128x128_classifier", 43),
        ("256x256_classifier", 54),
        ("512x512_classifier", 54),
    ],
)
def test_published_sizes_are_the_papers(name: str, millions: int) -> None:
    with torch.device("meta"):
        network = UNet(UNETS[name]) if name in UNETS else Classifier(CLASSIFIERS[name])
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == millions


def test_unconditional_256_has_exactly_the_parameters_of_the_release() -> None:
    with torch.device("meta"):
        unet = UNet(UNETS["256x256_diffusion_uncond"])
    assert sum(p.numel() for p in unet.parameters()) == 552_814_086
    # ddpm-segmentation's feature table: channels of the 18 decoder blocks.
    widths = [block[0].out_layers[3].out_channels for block in unet.output_blocks]
    assert widths == [1024] * 6 + [512] * 6 + [256] * 6


def small() -> UNetConfig:
    return UNetConfig(
        in_channels=1,
        model_channels=32,
        out_channels=2,
        num_res_blocks=1,
        attention_resolutions=(2,),
        channel_mult=(1, 2),
        num_heads=2,
    )


def test_rules_and_overrides_of_head_counts() -> None:
    state = UNet(small()).state_dict()
    assert infer_config(state).num_heads == 4
    assert infer_config(state, num_heads=2) == small()
    updown = replace(small(), resblock_updown=True, num_heads=1, num_head_channels=64)
    state = UNet(updown).state_dict()
    assert infer_config(state) == updown
    assert infer_config(state, num_heads=8).num_head_channels == -1


def test_unknown_override_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"num_head_chanels.*did you mean 'num_head_channels'"):
        infer_config(UNet(small()).state_dict(), num_head_chanels=64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_embed.0.weight": None}, "no time_embed.0.weight"),
        ({"out.2.bias": None}, "out.2.bias is missing"),
        ({"middle_block.1.qkv.weight": (96, 64, 1)}, "middle_block.1.qkv.weight is"),
        ({"extra.weight": (3,)}, "extra.weight"),
        ({"output_blocks.2.0.in_layers.0.weight": (7,)}, "output_blocks.2"),
        ({"output_blocks.9999.0.in_layers.0.weight": (7,)}, "no output_blocks"),
        ({"time_embed.0.weight": (128, 0)}, "zero channels"),
    ],
)
def test_broken_state_is_refused_in_a_sentence(
    change: dict[str, tuple[int, ...] | None], message: str
) -> None:
    state = {name: tuple(value.shape) for name, value in UNet(small()).state_dict().items()}
    state |= change  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        infer_config({name: shape for name, shape in state.items() if shape is not None})
