"""`headwater convert SRC DST --to FORMAT`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from headwater.cli.options import parse
from headwater.cli.work import Switch, answer
from headwater.errors import need
from headwater.models.conversion import convert


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a prior in another format; what a weights file does not say about itself can be told."""

    src: Annotated[str, tyro.conf.Positional]
    """A shipped prior, a folder of ours or of diffusers, a guided-diffusion file or a hub name."""
    dst: Annotated[Path, tyro.conf.Positional]
    """A new folder; for adm a file that ends in .pt or .safetensors."""
    to: Literal["headwater", "adm", "diffusers"] = "headwater"
    """headwater: our folder; adm: guided-diffusion's weights; diffusers: a folder for DDPMPipeline."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width of the pictures."""
    num_heads: int | None = None
    """Attention heads."""
    num_head_channels: int | None = None
    """Channels per attention head."""
    use_new_attention_order: bool | None = None
    """Whether queries, keys and values are stacked before heads are split."""
    betas: str | None = None
    """The noise schedule: linear, cosine ..."""
    predicts: Literal["eps", "x0", "v", "score"] | None = None
    """What the network answers."""
    overwrite: Switch = False
    """Replace DST."""
    json: Switch = False
    """Print the result as JSON."""


_TOLD = ("shape", "num_heads", "num_head_channels", "use_new_attention_order", "betas", "predicts")


def run(argv: Sequence[str]) -> int:
    """Convert a checkpoint."""
    options = parse(Options, argv, "headwater convert")
    taken = options.dst.is_file() or (options.dst.is_dir() and any(options.dst.iterdir()))
    need(options.overwrite or not taken, f"{options.dst} exists: choose another DST, or add --overwrite")
    told = {name: value for name in _TOLD if (value := getattr(options, name)) is not None}
    done = convert(options.src, options.dst, options.to, **told)
    return answer(options.json, f"{options.to}: {done}", {"path": str(done), "format": options.to})
