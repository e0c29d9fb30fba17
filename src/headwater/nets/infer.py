"""The architecture behind a guided-diffusion state dict, read from its names and shapes.

What shapes cannot tell, and the rule used unless overridden by keyword:

- `num_heads`, `num_head_channels`, `num_heads_upsample`, `use_new_attention_order`: those of the
  published model of the same structure, if there is one (`adm_published`). Otherwise 64 channels
  per head for networks with `resblock_updown` whose attention widths are multiples of 64, and
  4 heads for all others (the reference's command-line default), in the legacy order. An override
  of one of `num_heads` and `num_head_channels` puts the other out of use.
- `dropout`: 0; it does not matter after training.
- `conv_resample`: True where it has no effect (`resblock_updown`, or one level).
- `resblock_updown`: False when there is one level.
- A classifier whose encoder can be cut into levels in several ways: two residual blocks per level
  if that is one of them, then four (both published), then the fewest. Override `num_res_blocks`.
- `image_size` of a classifier that does not pool by attention: None.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_blocks import EncoderConfig
from headwater.nets.adm_classifier import Classifier, ClassifierConfig, Pool
from headwater.nets.adm_published import UNETS

State = Mapping[str, Tensor | Sequence[int]]
STRUCTURE = (
    "model_channels",
    "num_res_blocks",
    "attention_resolutions",
    "channel_mult",
    "use_scale_shift_norm",
    "resblock_updown",
)
HEADS = ("num_heads", "num_head_channels", "num_heads_upsample", "use_new_attention_order")


def infer_config(state: State, **overrides: Any) -> UNetConfig:
    """Configuration of the U-Net whose state dict has these names and shapes.

    Args:
        state: name -> tensor or shape, as in guided-diffusion.
        overrides: fields of `UNetConfig` to set by hand, see the module's rules.

    Raises:
        ValueError: for an unknown override, or if no U-Net has these names and shapes.
    """
    check_names(overrides, UNetConfig)
    config = UNetConfig(**unet_fields(state, **overrides))
    with torch.device("meta"):
        Shapes(state).check(UNet(config))
    return config


def unet_fields(state: State, **overrides: Any) -> dict[str, Any]:
    """The fields of `UNetConfig` that these names and shapes tell, also beside those of other networks.

    Arguments and errors as for `infer_config`; that nothing else differs is for the caller to compare.
    """
    shapes = Shapes(state)
    blocks = shapes.count("output_blocks")
    run, resample = decoder_levels(shapes, blocks)
    if blocks % run:
        raise ValueError("pass a complete state dict: some decoder blocks are missing.")
    found = encoder_fields(shapes, run - 1, blocks // run) | resample
    found["out_channels"] = shapes["out.2.weight"][0]
    labels = shapes.get("label_emb.weight")
    found["num_classes"] = None if labels is None else labels[0]
    return {**found, **likely_heads(found), **implied(overrides)}


def infer_classifier_config(state: State, **overrides: Any) -> ClassifierConfig:
    """Configuration of the classifier whose state dict has these names and shapes.

    Arguments and errors as for `infer_config`.
    """
    check_names(overrides, ClassifierConfig)
    shapes = Shapes(state)
    blocks = shapes.count("input_blocks")
    run, resample = encoder_levels(shapes, blocks, overrides.get("num_res_blocks"))
    levels = blocks // run
    found = encoder_fields(shapes, run - 1, levels) | resample
    found["pool"], found["out_channels"] = pooling(shapes)
    if found["pool"] == "attention":
        positions = shapes["out.2.positional_embedding"][1] - 1
        found["image_size"] = math.isqrt(positions) * 2 ** (levels - 1)
    config = ClassifierConfig(**({**found, "num_head_channels": 64, **implied(overrides)}))
    with torch.device("meta"):
        shapes.check(Classifier(config))
    return config


class Shapes:
    """Names and shapes of a state dict, with errors that say what is wrong with it."""

    def __init__(self, state: State) -> None:
        self.table = {
            name: tuple(value.shape if isinstance(value, Tensor) else value) for name, value in state.items()
        }

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self.table:
            raise ValueError(f"pass the state dict of a guided-diffusion network: no {name} here.")
        return self.table[name]

    def __contains__(self, name: str) -> bool:
        return name in self.table

    def get(self, name: str) -> tuple[int, ...] | None:
        return self.table.get(name)

    def count(self, group: str) -> int:
        """1 + the largest index in `group`; blocks without parameters leave gaps."""
        indices = [name.split(".")[1] for name in self.table if name.startswith(f"{group}.")]
        numbers = [int(index) for index in indices if index.isdecimal() and len(index) < 5]
        if not numbers or max(numbers) >= len(self.table):
            raise ValueError(f"pass the state dict of a guided-diffusion network: no {group} here.")
        return 1 + max(numbers)

    def check(self, network: torch.nn.Module) -> None:
        """ValueError naming the first difference between this table and `network`'s."""
        expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        for name in [*expected, *self.table]:
            here, there = self.table.get(name), expected.get(name)
            if here != there:
                raise ValueError(
                    f"pass a matching state dict or override: {name} is {here or 'missing'} where "
                    f"the architecture read from the other names has {there or 'nothing'}."
                )


def decoder_levels(shapes: Shapes, blocks: int) -> tuple[int, dict[str, bool]]:
    """Decoder blocks per level, and how the network resamples.

    Each level but the finest ends in an upsampler, which is the block's second or third module.
    """
    for i in range(blocks):
        for j in (1, 2):
            if f"output_blocks.{i}.{j}.conv.weight" in shapes:
                return i + 1, {"conv_resample": True}
            up = f"output_blocks.{i}.{j}"  # a residual block, whose first convolution SPADE's has elsewhere
            if any(f"{up}.in_layers.{k}.weight" in shapes for k in (1, 2)):
                return i + 1, {"resblock_updown": True}
    # Pooling has no parameters: its encoder block leaves a gap in the numbering.
    for i in gaps(shapes, shapes.count("input_blocks")):
        return i, {"conv_resample": False}
    return blocks, {}


def encoder_levels(shapes: Shapes, blocks: int, num_res_blocks: int | None) -> tuple[int, dict[str, bool]]:
    """Encoder blocks per level (its downsampler, or the stem, included), and how it resamples."""
    for i in range(blocks):
        if f"input_blocks.{i}.0.op.weight" in shapes:
            return i, {"conv_resample": True}
    for i in gaps(shapes, blocks):
        return i, {"conv_resample": False}
    runs = [run for run in range(2, blocks + 1) if cuts(shapes, blocks, run)]
    if num_res_blocks is not None:
        runs = [run for run in runs if run == num_res_blocks + 1]
    if not runs:
        raise ValueError("pass a complete classifier: its encoder does not split into levels.")
    run = min(runs, key=lambda run: (run != 3, run != 5, run))
    return run, {} if run == blocks else {"resblock_updown": True}


def cuts(shapes: Shapes, blocks: int, run: int) -> bool:
    """Whether every `run`-th encoder block can be a downsampler, and levels are uniform between."""
    if blocks % run:
        return False
    for i in range(1, blocks):
        attends = f"input_blocks.{i}.1.qkv.weight" in shapes
        narrows = f"input_blocks.{i}.0.skip_connection.weight" in shapes
        if i % run == 0 and (attends or narrows):
            return False
        if i % run > 1:
            same = f"input_blocks.{i - 1}.1.qkv.weight" in shapes
            if narrows or attends != same:
                return False
    return True


def gaps(shapes: Shapes, blocks: int) -> Iterator[int]:
    present = {name.split(".")[1] for name in shapes.table if name.startswith("input_blocks.")}
    return (i for i in range(1, blocks) if str(i) not in present)


def encoder_fields(shapes: Shapes, num_res_blocks: int, levels: int) -> dict[str, Any]:
    """The fields that the encoder tells, given its cut into levels."""
    channels = shapes["time_embed.0.weight"][1]
    firsts = [f"input_blocks.{1 + level * (num_res_blocks + 1)}" for level in range(levels)]
    widths = [shapes[f"{first}.0.out_layers.3.weight"][0] for first in firsts]
    modulation = shapes[f"{firsts[0]}.0.emb_layers.1.weight"][0]
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "model_channels": channels,
        "num_res_blocks": num_res_blocks,
        "attention_resolutions": tuple(
            2**level for level, first in enumerate(firsts) if f"{first}.1.qkv.weight" in shapes
        ),
        "channel_mult": tuple(multiplier(width, channels) for width in widths),
        "use_scale_shift_norm": modulation == 2 * widths[0],
    }


def multiplier(width: int, channels: int) -> float:
    if not channels:
        raise ValueError("pass the state dict of a guided-diffusion network: zero channels here.")
    if width % channels == 0:
        return width // channels
    ratio = width / channels
    return ratio if int(ratio * channels) == width else math.nextafter(ratio, math.inf)


def pooling(shapes: Shapes) -> tuple[Pool, int]:
    """The classifier's head and its number of classes."""
    if "out.2.positional_embedding" in shapes:
        return "attention", shapes["out.2.c_proj.weight"][0]
    if "out.2.weight" in shapes:
        return "spatial", shapes["out.2.weight"][0]
    last = shapes["out.3.weight"]
    return ("adaptive" if len(last) == 4 else "spatial_v2"), last[0]


def likely_heads(found: Mapping[str, Any]) -> dict[str, Any]:
    """Head counts and QKV order by the module's rule."""
    for published in UNETS.values():
        if all(getattr(published, name) == found.get(name, False) for name in STRUCTURE):
            return {name: getattr(published, name) for name in HEADS}
    widths = [int(mult * found["model_channels"]) for mult in found["channel_mult"]]
    attending = [w for i, w in enumerate(widths) if 2**i in found["attention_resolutions"]]
    if found.get("resblock_updown") and all(width % 64 == 0 for width in (*attending, widths[-1])):
        return {"num_head_channels": 64}
    return {"num_heads": 4}


def implied(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides, and the neutral value of the head count that they put out of use."""
    if "num_heads" in overrides and "num_head_channels" not in overrides:
        return {"num_head_channels": -1, **overrides}
    if overrides.get("num_head_channels", -1) != -1:
        return {"num_heads": 1, **overrides}
    return dict(overrides)


def check_names(overrides: Mapping[str, Any], config: type[EncoderConfig]) -> None:
    """ValueError with the nearest field for an unknown override."""
    known = [field.name for field in fields(config)]
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown option {name!r}: did you mean {near!r}?")
