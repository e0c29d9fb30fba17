"""Everything that decides the weights of a prior, as one frozen dataclass and one YAML file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from headwater.core.prediction import Target, Variance
from headwater.errors import UserError, need
from headwater.models.config import PriorConfig, ProcessConfig
from headwater.models.schema import build


@dataclass(frozen=True)
class Architecture:
    """The guided-diffusion U-Net, without what follows from the data and the variance."""

    model_channels: int = 32
    """Width of the finest level; a multiple of 32."""
    channel_mult: tuple[float, ...] = (1, 2, 4)
    """Width of each level as a multiple of model_channels, finest first."""
    num_res_blocks: int = 1
    """Residual blocks per level."""
    attention_resolutions: tuple[int, ...] = (4,)
    """Downsampling factors with attention: 4 means side / 4."""
    num_heads: int = 1
    """Attention heads, unless num_head_channels is given."""
    num_head_channels: int = -1
    """Channels per attention head; -1 means that num_heads counts."""
    dropout: float = 0.0
    """Probability that a feature is dropped."""
    use_scale_shift_norm: bool = True
    """Let the timestep scale and shift the normalised features."""
    resblock_updown: bool = False
    """Resample inside residual blocks."""
    conv_resample: bool = True
    """Convolve when resampling."""


@dataclass(frozen=True)
class Recipe:
    """How a prior is trained. The defaults train in minutes on one core; see training/recipes."""

    data: str
    """A shipped set, a folder of pictures or an .npz file."""
    split: str = "train"
    """Split of a shipped set."""
    shape: tuple[int, int, int] = (1, 32, 32)
    """Channels, height and width of a picture."""
    augment: tuple[Literal["flip", "hue", "brain"], ...] = ()
    """Random changes of each picture at each visit: mirror, turn the hue, another head."""
    augmented: int = 0
    """For the brain set: train on this many pictures augmented once, at the start."""
    class_conditional: bool = False
    """Tell the network the class of each picture."""
    label_dropout: float = 0.0
    """Share of pictures whose class is hidden, for classifier-free guidance."""

    network: Architecture = field(default_factory=Architecture)
    """The U-Net."""
    process: ProcessConfig = field(default_factory=lambda: ProcessConfig(betas="cosine"))
    """The forward process."""
    predicts: Target = "eps"
    """What the network answers: eps, x0, v or score."""
    variance: Variance = "fixed"
    """fixed, or learned by the network (learned_range is Nichol & Dhariwal 2021)."""
    noise: str = "white"
    """The noise law."""
    noise_options: dict[str, int | float | str] = field(default_factory=dict)
    """Parameters of the noise law."""
    levels: Literal["uniform", "stratified"] = "uniform"
    """How t is drawn: independently, or evenly spread over the batch (Kingma et al. 2021)."""
    weighting: Literal["simple", "min-snr"] = "simple"
    """Weight of a level's loss: 1, or Min-SNR with gamma = 5 (Hang et al. 2023)."""

    steps: int = 2000
    """Optimiser steps."""
    batch: int = 128
    """Pictures per optimiser step, over all processes."""
    grad_accumulation: int = 1
    """Parts in which a batch is computed, to save memory."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    warmup: int = 200
    """Steps over which the learning rate rises linearly."""
    decay: Literal["none", "cosine"] = "cosine"
    """After warm-up: constant, or down to 0 along half a cosine."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's moment decays."""
    grad_clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the weight average; it starts at min(ema, (1 + k) / (10 + k)) at step k."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the network; weights, optimiser and average stay in fp32."""
    channels_last: bool = False
    """Store features pixel by pixel; faster with bf16."""
    sharded: bool = False
    """Under torchrun, leave each process a share of the weights, for models that do not fit on one device."""
    compile: bool = False
    """Compile the network; faster after about a minute of compilation."""
    seed: int = 0
    """Decides every random number of the training."""

    log_every: int = 50
    """Steps per line of the log."""
    sample_every: int = 1000
    """Steps between sample sheets; 0 makes none."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints."""
    keep: int = 2
    """Checkpoints kept."""

    def __post_init__(self) -> None:
        positive = ("steps", "batch", "grad_accumulation", "log_every", "keep", "lr", "grad_clip")
        for name in positive:
            need(getattr(self, name) > 0, f"{name} is {getattr(self, name)}: give a positive number")
        need(
            self.batch % self.grad_accumulation == 0,
            f"a batch of {self.batch} does not split into {self.grad_accumulation} equal parts: "
            "change batch or grad_accumulation",
        )
        need(0 <= self.ema < 1, f"ema is {self.ema}: give a decay from 0 to below 1")
        need(0 <= self.label_dropout < 1, f"label_dropout is {self.label_dropout}: give 0 to below 1")
        need(
            self.weighting == "simple" or (self.variance == "fixed" and self.predicts != "score"),
            "min-snr weighting is defined for eps, x0 and v networks with fixed variance: "
            "choose weighting simple",
        )

    @classmethod
    def load(cls, path: str | Path, **changes: Any) -> Recipe:
        """Read a YAML recipe; keywords replace fields. UserError names an unknown key."""
        try:
            found = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
        except OSError as error:
            raise UserError(f"cannot read the recipe {path}: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        need(isinstance(found, dict), f"{path} holds no recipe: write one `name: value` per line")
        return cls.from_dict({**found, **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build from plain values as `to_dict` gives them. UserError names an unknown key."""
        return build(cls, values, "recipe")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML and JSON."""
        return _plain(dataclasses.asdict(self))

    def save(self, path: str | Path) -> None:
        """Write as YAML."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        Path(path).write_text(text, encoding="utf-8")

    def prior_config(self, classes: tuple[str, ...] = (), about: dict[str, Any] | None = None) -> PriorConfig:
        """The prior that this recipe trains. With label dropout, one label more stands for no class."""
        channels = self.shape[0]
        network = {
            "kind": "adm",
            "in_channels": channels,
            "out_channels": channels * (1 if self.variance == "fixed" else 2),
            **dataclasses.asdict(self.network),
        }
        if self.class_conditional:
            need(len(classes) > 0, f"{self.data} has no classes: leave class_conditional out")
            network["num_classes"] = len(classes) + (self.label_dropout > 0)
        return PriorConfig(
            network=network,
            shape=self.shape,
            process=self.process,
            predicts=self.predicts,
            variance=self.variance,
            noise={"kind": self.noise, **self.noise_options},
            classes=classes if self.class_conditional else (),
            about=about or {},
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-3, without a dot, for text; here it is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
