"""`headwater convert SRC DST --to FORMAT` and `--as METHOD`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from headwater.cli.options import parse, read_options
from headwater.cli.work import Switch, answer
from headwater.errors import UserError, need
from headwater.methods.catalogue import entry, trained
from headwater.models.conversion import convert


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a prior in another format, or published weights of a method as a folder for --fitted.

    What a weights file does not say about itself can be told.
    """

    src: Annotated[str, tyro.conf.Positional]
    """A shipped prior, a folder of ours or of diffusers, a guided-diffusion file or a hub name."""
    dst: Annotated[Path, tyro.conf.Positional]
    """A new folder; for adm a file that ends in .pt or .safetensors."""
    of: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """The method whose authors published SRC, such as glide or csdi; DST is then a folder for --fitted."""
    settings: Path | None = None
    """With --as: the authors' configuration file, YAML or JSON, for what weights do not say."""
    to: Literal["headwater", "adm", "diffusers"] = "headwater"
    """Format to write: a folder of ours, guided-diffusion's weights (adm), or a folder for DDPMPipeline."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width of the pictures."""
    num_heads: int | None = None
    """Number of attention heads."""
    num_head_channels: int | None = None
    """Channels per attention head."""
    use_new_attention_order: bool | None = None
    """Whether queries, keys and values are stacked before heads are split."""
    scheduler: Path | None = None
    """A scheduler_config.json of diffusers, or a folder with one: the noise schedule, and what the network
    answers."""
    T: Annotated[int | None, tyro.conf.arg(name="T")] = None
    """Number of timesteps of the noise schedule."""
    betas: str | None = None
    """The noise schedule: linear, cosine ..."""
    predicts: Literal["eps", "x0", "v", "score"] | None = None
    """What the network answers."""
    label: int | None = None
    """Number of the class that a network of classes is told where nobody says which, as methods do not."""
    overwrite: Switch = False
    """Replace what DST holds."""
    json: Switch = False
    """Print the result as JSON."""


_TOLD = (
    *("shape", "num_heads", "num_head_channels", "use_new_attention_order"),
    *("scheduler", "T", "betas", "predicts", "label"),
)


def run(argv: Sequence[str]) -> int:
    """Convert a checkpoint."""
    options = parse(Options, argv, "headwater convert")
    taken = options.dst.is_file() or (options.dst.is_dir() and any(options.dst.iterdir()))
    need(options.overwrite or not taken, f"{options.dst} exists: choose another DST, or add --overwrite")
    if options.of is not None:
        return _published(options)
    need(options.settings is None, "--settings goes with --as: name the method")
    told = {name: value for name in _TOLD if (value := getattr(options, name)) is not None}
    done = convert(options.src, options.dst, options.to, **told)
    return answer(options.json, f"{options.to}: {done}", {"path": str(done), "format": options.to})


def _published(options: Options) -> int:
    """A folder of ours from the weights of a method's authors."""
    kind = str(options.of)
    made = trained(kind)
    if made is None:
        entry(kind)  # says which methods there are
        raise UserError(f"{kind} trains nothing, so nobody published its weights: give a prior to it")
    settings = {} if options.settings is None else read_options(options.settings)
    made.from_published(options.src, settings).save_pretrained(options.dst)
    return answer(options.json, f"{kind}: {options.dst}", {"path": str(options.dst), "format": kind})
