"""The guided-diffusion U-Net and diffusers' UNet2DModel: the same network under two sets of names.

Where both can express an architecture, configs and weights go over exactly. What differs: attention of the
original keeps q, k and v in one matrix (by head in its legacy order), and diffusers knows one number of
channels per head for all levels.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from headwater.errors import need
from headwater.models.schema import fit, nearest
from headwater.nets.adm import UNetConfig
from headwater.nets.infer import multiplier

EPS, GROUPS = 1e-5, 32
BOOKKEEPING = (
    *("decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step"),
    "use_ema_warmup",
)
"""Fields that diffusers' EMA leaves in a network's config."""

Rule = Literal["same", "flat", "qkv"]


@lru_cache(maxsize=1)
def plain_class() -> type[nn.Module]:
    """UNet2DModel called as every network here: network(x, labels, y=...) -> Tensor."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    class Plain(UNet2DModel):
        def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, x: Tensor, labels: Tensor, y: Tensor | None = None, class_labels: Tensor | None = None
        ) -> Tensor:
            given = class_labels if y is None else y
            return super().forward(x, labels, class_labels=given, return_dict=False)[0]

    return Plain


def fields() -> set[str]:
    """Names of UNet2DModel's options."""
    return set(_defaults())


def checked(values: Mapping[str, Any], where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A UNet2DModel config with known fields of the right types only, and what was passed over, in words.

    Raises UserError for other fields, unless they hold null, which in diffusers is a feature put out of use.
    """
    from diffusers.models.unets.unet_2d import UNet2DModel

    hints = typing.get_type_hints(UNet2DModel.__init__)
    hints.pop("return", None)
    known: dict[str, Any] = {}
    passed: list[str] = []
    for name, value in values.items():
        if name.startswith("_") or name in BOOKKEEPING:
            continue
        if name not in hints and value is None:
            passed.append(name)
            continue
        need(name in hints, f"{where}: unknown field {name!r}{_mended(name, value, hints)}")
        known[name] = fit(value, hints[name], f"{where}: {name}")
    words = f"its config names {', '.join(passed)}, which UNet2DModel does not know, as null: passed over"
    return known, (words,) * bool(passed)


def _mended(name: str, value: Any, hints: Mapping[str, Any]) -> str:
    """What to do about a field that is not known."""
    near = nearest(name, hints)
    if "did you mean" in near:
        return near
    return f" = {str(value)[:40]!r} of UNet2DModel: if its network does without, remove that line"


def from_unet2d(values: Mapping[str, Any]) -> UNetConfig:
    """The guided-diffusion architecture that computes the same. Raises UserError saying why there is none."""
    v = {**_defaults(), **values}
    widths, groups = v["block_out_channels"], v["norm_num_groups"]
    scale_shift = v["resnet_time_scale_shift"] == "scale_shift"
    attention_groups = v["attn_norm_num_groups"] or (None if scale_shift else groups)
    for name, wanted in (
        ("time_embedding_type", "positional"),
        ("flip_sin_to_cos", True),
        ("freq_shift", 0),
        ("center_input_sample", False),
        ("downsample_padding", 1),
        ("mid_block_type", "UNetMidBlock2D"),
        ("mid_block_scale_factor", 1),
        ("add_attention", True),
        ("norm_eps", EPS),
        ("norm_num_groups", GROUPS),
        ("class_embed_type", None),
    ):
        need(
            v[name] == wanted,
            f"guided-diffusion has no {name}={v[name]!r}, only {wanted!r}: keep it as it is",
        )
    need(
        v["act_fn"] in ("silu", "swish"),
        f"guided-diffusion has no {v['act_fn']} activation: keep it as it is",
    )
    need(
        attention_groups == GROUPS,
        "guided-diffusion normalises before its middle attention: keep it as it is",
    )
    same = v["time_embedding_dim"] in (None, 4 * widths[0])
    _can(same, "embeds time in 4 x the first width")
    down, up = v["down_block_types"], v["up_block_types"][::-1]
    attends = [name.startswith("Attn") for name in down]
    mirrored = attends == [name.startswith("Attn") for name in up]
    _can(mirrored, "attends at the same sizes on both sides")
    return UNetConfig(
        in_channels=v["in_channels"],
        model_channels=widths[0],
        out_channels=v["out_channels"],
        num_res_blocks=v["layers_per_block"],
        attention_resolutions=tuple(2**i for i, here in enumerate(attends) if here),
        dropout=v["dropout"],
        channel_mult=tuple(multiplier(width, widths[0]) for width in widths),
        num_classes=v["num_class_embeds"],
        num_head_channels=v["attention_head_dim"] or -1,
        use_scale_shift_norm=scale_shift,
        resblock_updown=_resamples_in_blocks(v, down, up),
        use_new_attention_order=True,
    )


def _can(expressible: bool, reason: str) -> None:
    need(expressible, f"guided-diffusion {reason}: this network cannot be converted to it")


def _resamples_in_blocks(v: Mapping[str, Any], down: tuple[str, ...], up: tuple[str, ...]) -> bool:
    """Whether all levels resample within residual blocks; UserError when only some do."""
    kinds = {
        "AttnDownBlock2D": v["downsample_type"],
        "AttnUpBlock2D": v["upsample_type"],
        "DownBlock2D": "conv",
        "UpBlock2D": "conv",
        "ResnetDownsampleBlock2D": "resnet",
        "ResnetUpsampleBlock2D": "resnet",
    }
    for name in (*down, *up):
        need(name in kinds, f"guided-diffusion has no {name}: keep it as it is")
    used = {kinds[name] for name in (*down[:-1], *up[:-1])}
    need(
        used <= {"conv"} or used == {"resnet"}, "guided-diffusion resamples in one way only: keep it as it is"
    )
    return used == {"resnet"}


@lru_cache(maxsize=1)
def _defaults() -> dict[str, Any]:
    import inspect

    from diffusers.models.unets.unet_2d import UNet2DModel

    signature = inspect.signature(UNet2DModel.__init__)
    return {name: p.default for name, p in signature.parameters.items() if name != "self"}


def to_unet2d(config: UNetConfig, height: int, width: int) -> dict[str, Any]:
    """UNet2DModel's config.json for the same network. Raises UserError saying why there is none."""
    levels = range(len(config.widths))
    attends = [2**i in config.attention_resolutions for i in levels]
    need(
        config.widths[0] == config.model_channels,
        "diffusers embeds time in as many channels as the first level has: this network cannot be converted",
    )
    need(
        config.resblock_updown or config.conv_resample or len(levels) == 1,
        "diffusers always convolves when it resamples: this network cannot be converted",
    )
    plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    if not config.resblock_updown:
        plain = ("DownBlock2D", "UpBlock2D")
    resample = "resnet" if config.resblock_updown else "conv"
    return {
        "_class_name": "UNet2DModel",
        "sample_size": height if height == width else [height, width],
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": list(config.widths),
        "layers_per_block": config.num_res_blocks,
        "down_block_types": ["AttnDownBlock2D" if attends[i] else plain[0] for i in levels],
        "up_block_types": ["AttnUpBlock2D" if attends[i] else plain[1] for i in reversed(levels)],
        "downsample_type": resample,
        "upsample_type": resample,
        "attention_head_dim": _head_channels(config),
        "resnet_time_scale_shift": "scale_shift" if config.use_scale_shift_norm else "default",
        "attn_norm_num_groups": GROUPS,
        "norm_num_groups": GROUPS,
        "norm_eps": EPS,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "dropout": config.dropout,
        "num_class_embeds": config.num_classes,
    }


def _head_channels(config: UNetConfig) -> int | None:
    """Channels per head at all levels; None (diffusers' word) for one head everywhere."""
    heads = {(width, n) for width in config.attention_widths for n in config.head_counts(width)}
    sizes = {width // n for width, n in heads}
    if len(sizes) > 1 and {n for _, n in heads} == {1}:
        return None
    need(
        len(sizes) == 1,
        "diffusers has one number of channels per attention head, this network has several "
        f"({', '.join(map(str, sorted(sizes)))}): it cannot be converted",
    )
    return sizes.pop()


def weights_to_unet2d(state: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """Guided-diffusion's weights under diffusers' names."""
    out: dict[str, Tensor] = {}
    for ours, theirs, rule in _leaves(config):
        for part in ("weight", "bias"):
            value = state.get(f"{ours}.{part}")
            if value is None:
                continue
            if rule == "same":
                out[f"{theirs}.{part}"] = value
                continue
            rows = value.squeeze(-1) if part == "weight" else value
            if rule == "flat":
                out[f"{theirs}.{part}"] = rows
                continue
            heads = config.heads(len(rows) // 3, config.num_heads)
            order = "(qkv heads d)" if config.use_new_attention_order else "(heads qkv d)"
            split = rearrange(rows, f"{order} ... -> qkv (heads d) ...", qkv=3, heads=heads)
            for name, block in zip(("to_q", "to_k", "to_v"), split, strict=True):
                out[f"{theirs}.{name}.{part}"] = block
    return {name: value.contiguous() for name, value in out.items()}


def weights_from_unet2d(state: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """Diffusers' weights under guided-diffusion's names, for a config of `from_unet2d`."""
    out: dict[str, Tensor] = {}
    for ours, theirs, rule in _leaves(config):
        for part in ("weight", "bias"):
            if rule == "qkv":
                names = [f"{theirs}.{name}.{part}" for name in ("to_q", "to_k", "to_v")]
                value = torch.cat([state[name] for name in names]) if names[0] in state else None
            else:
                value = state.get(f"{theirs}.{part}")
            if value is not None:
                as_conv = rule != "same" and part == "weight"
                out[f"{ours}.{part}"] = (value[..., None] if as_conv else value).contiguous()
    return out


def _leaves(config: UNetConfig) -> Iterator[tuple[str, str, Rule]]:
    """(our name, diffusers' name, how the weights go over) of every layer with weights."""
    yield "time_embed.0", "time_embedding.linear_1", "same"
    yield "time_embed.2", "time_embedding.linear_2", "same"
    yield "label_emb", "class_embedding", "same"
    yield "input_blocks.0.0", "conv_in", "same"
    levels, count = len(config.widths), config.num_res_blocks
    attends = [2**i in config.attention_resolutions for i in range(levels)]
    block = 1
    for i in range(levels):
        for j in range(count):
            yield from _residual(f"input_blocks.{block}.0", f"down_blocks.{i}.resnets.{j}")
            if attends[i]:
                yield from _attention(f"input_blocks.{block}.1", f"down_blocks.{i}.attentions.{j}")
            block += 1
        if i + 1 < levels:
            yield from _resampler(config, f"input_blocks.{block}.0", f"down_blocks.{i}.downsamplers.0", "op")
            block += 1
    yield from _residual("middle_block.0", "mid_block.resnets.0")
    yield from _attention("middle_block.1", "mid_block.attentions.0")
    yield from _residual("middle_block.2", "mid_block.resnets.1")
    block = 0
    for i in range(levels):
        level = levels - 1 - i
        for j in range(count + 1):
            yield from _residual(f"output_blocks.{block}.0", f"up_blocks.{i}.resnets.{j}")
            if attends[level]:
                yield from _attention(f"output_blocks.{block}.1", f"up_blocks.{i}.attentions.{j}")
            if level and j == count:
                ours = f"output_blocks.{block}.{1 + attends[level]}"
                yield from _resampler(config, ours, f"up_blocks.{i}.upsamplers.0", "conv")
            block += 1
    yield "out.0", "conv_norm_out", "same"
    yield "out.2", "conv_out", "same"


def _residual(ours: str, theirs: str) -> Iterator[tuple[str, str, Rule]]:
    yield f"{ours}.in_layers.0", f"{theirs}.norm1", "same"
    yield f"{ours}.in_layers.2", f"{theirs}.conv1", "same"
    yield f"{ours}.emb_layers.1", f"{theirs}.time_emb_proj", "same"
    yield f"{ours}.out_layers.0", f"{theirs}.norm2", "same"
    yield f"{ours}.out_layers.3", f"{theirs}.conv2", "same"
    yield f"{ours}.skip_connection", f"{theirs}.conv_shortcut", "same"


def _attention(ours: str, theirs: str) -> Iterator[tuple[str, str, Rule]]:
    yield f"{ours}.norm", f"{theirs}.group_norm", "same"
    yield f"{ours}.qkv", theirs, "qkv"
    yield f"{ours}.proj_out", f"{theirs}.to_out.0", "flat"


def _resampler(config: UNetConfig, ours: str, theirs: str, name: str) -> Iterator[tuple[str, str, Rule]]:
    if config.resblock_updown:
        yield from _residual(ours, theirs)
    else:
        yield f"{ours}.{name}", f"{theirs}.conv", "same"
