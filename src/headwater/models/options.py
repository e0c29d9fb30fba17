"""Keyword overrides: what a checkpoint does not say about itself, or says wrongly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from headwater.errors import need
from headwater.models.config import PriorConfig, ProcessConfig
from headwater.models.schema import build, nearest
from headwater.nets.adm import UNetConfig
from headwater.nets.level_unet import LevelUNetConfig
from headwater.nets.ncsnpp import NCSNppConfig

PROCESS = {f.name for f in dataclasses.fields(ProcessConfig)} - {"kind"}
PRIOR = {"shape", "predicts", "variance", "noise", "clip", "classes", "label", "process"}
ADM = {f.name for f in dataclasses.fields(UNetConfig)}
NCSNPP = {f.name for f in dataclasses.fields(NCSNppConfig)}
LEVEL = {f.name for f in dataclasses.fields(LevelUNetConfig)}


@dataclass(frozen=True)
class Overrides:
    """Overrides sorted by what they belong to."""

    network: dict[str, Any]
    process: dict[str, Any]
    prior: dict[str, Any]


def sort(overrides: Mapping[str, Any], network: set[str]) -> Overrides:
    """Sort them, given the network's fields. Raises UserError with the nearest name for an unknown one."""
    for name in overrides:
        known = PROCESS | PRIOR | network
        need(name in known, f"unknown option {name!r}{nearest(name, known)}")
    given = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in overrides.items()}
    return Overrides(*({k: v for k, v in given.items() if k in names} for names in (network, PROCESS, PRIOR)))


def process(base: ProcessConfig, changes: Mapping[str, Any]) -> ProcessConfig:
    """The process with changes; listed betas bring their own T."""
    values = {**dataclasses.asdict(base), **changes}
    if not isinstance(values["betas"], str):
        values["betas"] = [float(beta) for beta in values["betas"]]
        values["T"] = changes.get("T", len(values["betas"]))
    return build(ProcessConfig, values, "process")


def overridden(config: PriorConfig, overrides: Mapping[str, Any]) -> PriorConfig:
    """A config with overrides applied, each checked as if it stood in config.json."""
    if not overrides:
        return config
    names = ADM
    if config.network.get("kind") == "unet2d":
        from headwater.models.unet2d import fields

        names = fields()
    elif config.network.get("kind") == "ncsnpp":
        names = NCSNPP
    elif config.network.get("kind") == "level":
        names = LEVEL
    sorted_ = sort(overrides, names)
    changed = replace(
        config,
        network=config.network | sorted_.network,
        process=process(sorted_.prior.pop("process", config.process), sorted_.process),
    )
    return build(PriorConfig, dataclasses.asdict(changed) | sorted_.prior, "options")
