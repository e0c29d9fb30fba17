"""A fitted CSDI, and how published checkpoints become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import betas
from headwater.errors import UserError, need
from headwater.methods.series.csdi.windows import Scale
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes
from headwater.models.pretrained import Pretrained
from headwater.nets.csdi import CSDIConfig, CSDINet


@dataclass(frozen=True)
class Chain:
    """The noise schedule: `T` variances from `start` to `end`; "quadratic" spaces their roots evenly."""

    T: int = 50
    """Levels."""
    schedule: Literal["quadratic", "linear"] = "quadratic"
    """How the variances are spaced."""
    start: float = 1e-4
    """The first variance."""
    end: float = 0.5
    """The last variance."""

    def __post_init__(self) -> None:
        need(1 <= self.T <= 100_000, f"a chain has 1 to 100000 levels, not {self.T}")
        need(0 < self.start <= self.end < 1, "betas lie between 0 and 1, the first not above the last")
        need(self.schedule in ("quadratic", "linear"), "schedule is 'quadratic' or 'linear'")

    def process(self) -> Diffusion:
        """Level t = 1 .. T of the process is step t - 1 of the paper's code."""
        return Diffusion.vp(betas(self.schedule, self.T, start=self.start, end=self.end))


@dataclass(frozen=True)
class ImputerConfig:
    """Sizes of the network and what its numbers mean."""

    network: CSDIConfig
    columns: tuple[str, ...]
    """Names of the K columns."""
    scale: Scale
    """In which mean, deviation and time step they are measured."""
    length: int
    """Rows of a window."""
    chain: Chain

    def __post_init__(self) -> None:
        K = {len(self.columns), len(self.scale.mean), len(self.scale.std), self.network.features}
        need(len(K) == 1, "names, scale and network are of different numbers of columns: fit again")
        need(self.length >= 1, "a window has 1 row or more")


@dataclass(frozen=True, eq=False)
class FittedCSDI(Pretrained):
    """What `CSDI.fit` returns. network: `CSDINet`, or anything with its `side` and its call."""

    config: ImputerConfig

    kind = "csdi"

    @classmethod
    def networks(cls, config: ImputerConfig) -> Parts:
        return {"network": CSDINet(config.network)}

    @cached_property
    def denoiser(self) -> Denoiser:
        """It wants the conditions side, given and known of `CSDINet.forward`."""
        return Denoiser(self.network, self.config.chain.process(), "eps")

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """ermongroup/CSDI: settings are the `diffusion` and `model` parts of its YAML file.

        It keeps neither columns nor units, which may be given as `columns`, `mean`, `std` and `length`;
        without, columns are x0, x1, ... and values are taken as already normalised.
        """
        network = reference_config({"target_dim": shapes["embed_layer.weight"][0], **settings})
        K, diffusion = network.features, settings["diffusion"]
        schedule = "quadratic" if diffusion["schedule"] == "quad" else "linear"
        chain = Chain(diffusion["num_steps"], schedule, diffusion["beta_start"], diffusion["beta_end"])
        columns = tuple(settings.get("columns") or (f"x{i}" for i in range(K)))
        mean = np.array(settings.get("mean", [0] * K), float)
        std = np.array(settings.get("std", [1] * K), float)
        scale = Scale(mean, std, float(settings.get("step", 1.0)))
        config = ImputerConfig(network, columns, scale, int(settings.get("length", 48)), chain)
        return Layout(config, "network.{}".format)


def reference_config(config: Mapping[str, Any]) -> CSDIConfig:
    """`CSDIConfig` of the reference's configuration. Raises UserError for what is not built here."""
    try:
        diffusion, model = config["diffusion"], config["model"]
        need(not diffusion.get("is_linear"), "linear attention is not built here: use a quadratic checkpoint")
        return CSDIConfig(
            features=config["target_dim"],
            layers=diffusion["layers"],
            channels=diffusion["channels"],
            heads=diffusion["nheads"],
            step_dim=diffusion["diffusion_embedding_dim"],
            time_dim=model["timeemb"],
            feature_dim=model["featureemb"],
            given="pasted" if model["is_unconditional"] else "input",
        )
    except KeyError as error:
        raise UserError(f"the config does not give {error}: take the reference's YAML file") from None
