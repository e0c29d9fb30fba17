"""Everything that decides the weights of a prior, as one frozen dataclass and one YAML file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from headwater.core.denoiser import Error
from headwater.core.prediction import Target, Variance
from headwater.errors import UserError, need
from headwater.models.config import PriorConfig, ProcessConfig
from headwater.models.schema import build
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.plain_yaml import read_yaml
from headwater.training.config import TrainerConfig

PRIOR_TRAINING = TrainerConfig(
    2000, 128, 1e-3, warmup=200, decay="cosine", grad_clip=1.0, ema=0.999, checkpoint_every=300.0
)
"""How a prior is trained unless its recipe says otherwise."""


@dataclass(frozen=True)
class Recipe:
    """How a prior is made: data, network, process, training. The defaults train in minutes on one core."""

    data: str
    """A shipped set, a folder of pictures or an .npz file; for 4 channels fully measured k-space."""
    split: str = "train"
    """Split of a shipped set."""
    shape: tuple[int, int, int] = (1, 32, 32)
    """Channels, height and width of a picture; 4 channels are two neighbouring complex slices."""
    window: tuple[float, float] | None = None
    """In pictures and volumes with units of their own: the values that become black and white."""
    bands: tuple[int, ...] = ()
    """In TIFF files of more than four bands: the bands to read, counted from 1, one for each channel."""
    slices: tuple[int, int] | None = None
    """In volumes: the first and the last axial slice to read, counted from 0."""
    augment: tuple[Literal["flip", "hue", "brain"], ...] = ()
    """Random changes of each picture at each visit: mirror, turn the hue, another head."""
    augmented: int = 0
    """For the sets brain and photos: train on this many pictures changed once, at the start."""
    class_conditional: bool = False
    """Tell the network the class of each picture."""
    label_dropout: float = 0.0
    """Share of pictures whose class is hidden, for classifier-free guidance."""

    network: UNetArchitecture = field(default_factory=UNetArchitecture)
    """The U-Net."""
    process: ProcessConfig = field(default_factory=lambda: ProcessConfig(betas="cosine"))
    """The forward process."""
    predicts: Target = "eps"
    """What the network answers: eps, x0, v or score."""
    variance: Variance = "fixed"
    """Variance of a step: fixed, or learned by the network (learned_range is Nichol & Dhariwal 2021)."""
    noise: str = "white"
    """The noise law."""
    noise_options: dict[str, int | float | str] = field(default_factory=dict)
    """Parameters of the noise law."""
    timesteps: Literal["uniform", "stratified"] = "uniform"
    """How t is drawn: independently, or evenly spread over the batch (Kingma et al. 2021)."""
    weighting: Literal["simple", "min-snr"] = "simple"
    """Weight of a timestep's loss: 1, or Min-SNR with gamma = 5 (Hang et al. 2023)."""
    error: Error = "l2"
    """Size of the network's error: its square, its absolute value, or Huber's between the two."""

    training: TrainerConfig = PRIOR_TRAINING
    """How it is trained."""
    seed: int = 0
    """Decides every random number of the training."""
    sample_every: int = 1000
    """Steps between two pages of samples; 0 makes none."""

    def __post_init__(self) -> None:
        need(0 <= self.label_dropout < 1, f"label_dropout is {self.label_dropout}: give 0 to below 1")
        need(
            self.weighting == "simple" or (self.variance == "fixed" and self.predicts != "score"),
            "min-snr weighting is defined for eps, x0 and v networks with fixed variance: "
            "choose weighting simple",
        )

    @classmethod
    def load(cls, path: str | Path, **changes: Any) -> Self:
        """Read a YAML recipe; keywords replace fields. UserError names an unknown key."""
        try:
            found = read_yaml(Path(path), _Loader)
        except OSError as error:
            raise UserError(f"cannot read the recipe {path}: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        need(isinstance(found, dict), f"{path} holds no recipe: write one `name: value` per line")
        return cls.from_dict({**found, **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values as `to_dict` gives them; what `training` leaves out is as in `Recipe`.

        UserError names an unknown key.
        """
        standard, given = cls(data="").to_dict()["training"], values.get("training", {})
        training = {**standard, **given} if isinstance(given, Mapping) else given
        return build(cls, {**values, "training": training}, "recipe")

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
