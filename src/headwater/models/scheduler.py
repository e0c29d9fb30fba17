"""A scheduler_config.json of diffusers: the process behind it, and what of it is not done here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from headwater.atomic import read_json
from headwater.core import schedule
from headwater.core.prediction import Target
from headwater.errors import UserError, need
from headwater.models.config import MOST_STEPS, ProcessConfig
from headwater.models.schema import fit, nearest

NAME = "scheduler_config.json"
CHAINS = (
    *("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "LMSDiscreteScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"),
    *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "RePaintScheduler", "SASolverScheduler"),
    *("DDPMParallelScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler"),
)
"""Schedulers of one and the same chain; they differ in how they walk it."""
OTHER_ENDS = ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")
"""Those whose betas run from 0.00085 to 0.012 where their config does not say."""
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
TARGETS: dict[str, Target] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}

_TYPES: dict[str, Any] = {
    "num_train_timesteps": int,
    "beta_start": float,
    "beta_end": float,
    "beta_schedule": str,
    "trained_betas": tuple[float, ...] | None,
    "rescale_betas_zero_snr": bool,
    "clip_sample": bool,
    "clip_sample_range": float,
    "thresholding": bool,
    "sigma_min": float,
    "sigma_max": float,
    "sigma_data": float,
    "predict_epsilon": bool | None,
    "prediction_type": str,
    "variance_type": str | None,
    "timestep_type": str,
}
"""What is read of a scheduler's config; the rest says how it walks its chain, which is chosen anew here."""


@dataclass(frozen=True)
class Told:
    """What a scheduler says about a prior."""

    process: ProcessConfig
    predicts: Target
    clip: bool = True
    variance: str = ""
    """Of the step back, in diffusers' words; empty where it does not say."""
    data_std: float | None = None
    """Of EDM's wrapper around the network; None for chains."""
    remarks: tuple[str, ...] = ()
    """What it asks for and is not done here."""


def file_of(where: str | os.PathLike[str]) -> Path:
    """The scheduler's config that is meant: itself, or that of a folder. Raises UserError without one."""
    path = Path(where).expanduser()
    if path.is_file():
        return path
    for found in (path / NAME, path / "scheduler" / NAME):
        if found.is_file():
            return found
    raise UserError(f"there is no {NAME} at {path}: give that file, or a folder with it")


def read(path: Path) -> Told:
    """The process of a scheduler's config. Raises UserError, naming the file, for one that is not known."""
    given = read_json(path)
    values = {k: fit(v, _TYPES[k], f"{path}: {k}") for k, v in given.items() if k in _TYPES and v is not None}
    kind = str(given.get("_class_name", "DDPMScheduler"))
    need(kind in (*CHAINS, *EDM), f"{path}: unknown scheduler {kind!r}{nearest(kind, (*CHAINS, *EDM))}")
    T = values.get("num_train_timesteps", 1000)
    need(1 <= T <= MOST_STEPS, f"{path}: num_train_timesteps is {T}: give 1 to {MOST_STEPS} steps")
    target = values.get("prediction_type", "epsilon")
    # The word of diffusers before 0.10, which it still obeys.
    if values.get("predict_epsilon") is not None:
        target = "epsilon" if values["predict_epsilon"] else "sample"
    need(target in TARGETS, f"{path}: unknown prediction_type {target!r}{nearest(target, TARGETS)}")
    if kind in EDM:
        need(
            target == "epsilon",
            f"{path}: {kind} with prediction_type {target!r} is not supported: use epsilon",
        )
        ends = {"low": values.get("sigma_min", 0.002), "high": values.get("sigma_max", 80.0)}
        need(0 < ends["low"] < ends["high"], f"{path}: sigma_min and sigma_max must rise from above 0")
        return Told(ProcessConfig("edm", T, **ends), "x0", data_std=values.get("sigma_data", 0.5))
    need(
        values.get("timestep_type", "discrete") == "discrete",
        f"{path}: timestep_type is {values.get('timestep_type')!r}: only networks that are told whole "
        "timesteps, discrete, can be read",
    )
    if kind in OTHER_ENDS:
        values = {"beta_start": 0.00085, "beta_end": 0.012, **values}
    try:
        process = chain(schedule.betas_of_scheduler(values))
    except (ValueError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        why = str(error).splitlines()[0][:200]
        raise UserError(f"{path}: its betas cannot be computed ({why}): correct it") from None
    return Told(
        process,
        TARGETS[target],
        values.get("clip_sample", True),
        values.get("variance_type") or "",
        remarks=_not_done(values),
    )


def overrides(where: str | os.PathLike[str]) -> dict[str, Any]:
    """What a scheduler says, as keywords of `Prior.from_pretrained`. Raises UserError for one of EDM's."""
    path = file_of(where)
    told = read(path)
    need(told.data_std is None, f"{path} is of EDM, whose wrapper goes with a folder of diffusers only")
    return {"process": told.process, "predicts": told.predicts, "clip": told.clip}


def chain(betas: torch.Tensor) -> ProcessConfig:
    """The process of a beta table (T,), by its schedule's name where a name gives the same numbers."""
    for name in ("linear", "cosine"):
        if torch.equal(betas, schedule.betas(name, len(betas))):
            return ProcessConfig(T=len(betas), betas=name)
    return ProcessConfig(T=len(betas), betas=tuple(betas.tolist()))


def _not_done(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings of a chain's scheduler that change what diffusers draws and are passed over here."""
    clips, reach = values.get("clip_sample", True), values.get("clip_sample_range", 1.0)
    variance = values.get("variance_type") or ""
    said: list[str] = []
    if values.get("thresholding"):
        kept = "kept within [-1, 1]" if clips else "left as they are"
        said.append(f"its scheduler thresholds estimates by their quantiles, and here they are {kept}")
    elif clips and reach != 1.0:
        said.append(f"its scheduler clips estimates at {reach:g}, and here they are kept within [-1, 1]")
    if variance.startswith("fixed_large"):
        said.append(f"its scheduler draws with {variance}, and the ancestral sampler here with fixed_small")
    return tuple(said)
