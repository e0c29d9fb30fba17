"""Diffusers folders: a UNet2DModel with its scheduler's config, read by a closed table and written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from headwater.atomic import read_json, sha256, write_json, written_aside
from headwater.core import schedule
from headwater.core.prediction import Target
from headwater.errors import UserError, need
from headwater.models.config import PriorConfig, ProcessConfig
from headwater.models.folder import filled_network
from headwater.models.options import overridden
from headwater.models.prior import Prior
from headwater.models.schema import nearest
from headwater.models.unet2d import checked, to_unet2d, weights_to_unet2d
from headwater.nets.adm import UNet

INDEX, SCHEDULER = "model_index.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"

CHAINS = (
    *("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "LMSDiscreteScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"),
)
"""Schedulers of one and the same chain; they differ in how they walk it."""
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
TARGETS: dict[str, Target] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


def is_theirs(folder: Path) -> bool:
    """Whether this is a pipeline's folder or a bare U-Net's."""
    if (folder / INDEX).is_file():
        return True
    return (folder / "config.json").is_file() and "_class_name" in read_json(folder / "config.json")


def read(folder: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Prior:
    """A prior from a diffusers folder, float32, on the CPU. Classes are taken from a table, never by name.

    Raises UserError for a pipeline with other parts, weights that are not safetensors, or an unknown
    scheduler.
    """
    folder = Path(folder)
    config, weights = read_config(folder)
    config = overridden(config, overrides or {})
    prefix = "network." if "data_std" in config.network else ""
    network = filled_network(config.build_network, weights, prefix)
    return Prior(network, config, source=str(folder), file_hash=sha256(weights))


def read_config(folder: Path) -> tuple[PriorConfig, Path]:
    """The prior's config and the path of its weights, from the folder's JSON files alone."""
    inner = _unet_folder(folder)
    values = read_json(inner / "config.json")
    kind = values.get("_class_name")
    need(kind == "UNet2DModel", f"{inner} holds a {kind}: only UNet2DModel can be a prior here")
    weights = inner / WEIGHTS
    need(
        weights.is_file(),
        f"{inner} has no {WEIGHTS}: save the model with safe_serialization=True, other formats can run code",
    )
    network = checked(values, str(inner / "config.json"))
    return _prior_config(network, _scheduler(folder, inner)), weights


def _unet_folder(folder: Path) -> Path:
    if not (folder / INDEX).is_file():
        return folder
    for name, part in read_json(folder / INDEX).items():
        if name.startswith("_") or part == [None, None] or not isinstance(part, list):
            continue
        known = part in (["diffusers", "UNet2DModel"], *(["diffusers", s] for s in (*CHAINS, *EDM)))
        need(
            known,
            f"{folder} is a pipeline with {name} = {part}: only UNet2DModel on pixels can be a prior here",
        )
    return folder / "unet"


def _scheduler(folder: Path, inner: Path) -> dict[str, Any]:
    """The scheduler's config; without one, the defaults of DDPM (Ho et al. 2020)."""
    for path in (folder / "scheduler" / SCHEDULER, folder / SCHEDULER, inner / SCHEDULER):
        if path.is_file():
            return read_json(path)
    return {"_class_name": "DDPMScheduler"}


def _prior_config(network: dict[str, Any], scheduler: Mapping[str, Any]) -> PriorConfig:
    kind = str(scheduler.get("_class_name", "DDPMScheduler"))
    target = str(scheduler.get("prediction_type", "epsilon"))
    need(kind in (*CHAINS, *EDM), f"unknown scheduler {kind!r}{nearest(kind, (*CHAINS, *EDM))}")
    need(target in TARGETS, f"unknown prediction_type {target!r}{nearest(target, TARGETS)}")
    channels, size = network.get("in_channels", 3), network.get("sample_size")
    if size is None:
        raise UserError("config.json does not say sample_size: write the height and width in it")
    height, width = size if isinstance(size, tuple) else (size, size)
    twice = network.get("out_channels", 3) == 2 * channels
    if kind in EDM:
        need(target == "epsilon", f"{kind} with prediction_type {target!r} is not supported: use epsilon")
        return PriorConfig(
            {"kind": "unet2d", "data_std": float(scheduler.get("sigma_data", 0.5)), **network},
            (channels, height, width),
            ProcessConfig(
                "edm",
                int(scheduler.get("num_train_timesteps", 1000)),
                low=float(scheduler.get("sigma_min", 0.002)),
                high=float(scheduler.get("sigma_max", 80.0)),
            ),
            predicts="x0",
        )
    learned = scheduler.get("variance_type") == "learned"
    return PriorConfig(
        {"kind": "unet2d", **network},
        (channels, height, width),
        chain(schedule.betas_of_scheduler(scheduler)),
        TARGETS[target],
        ("learned" if learned else "learned_range") if twice else "fixed",
        clip=bool(scheduler.get("clip_sample", True)),
    )


def chain(betas: torch.Tensor) -> ProcessConfig:
    """The process of a beta table (T,), by its schedule's name where a name gives the same numbers."""
    for name in ("linear", "cosine"):
        if torch.equal(betas, schedule.betas(name, len(betas))):
            return ProcessConfig(T=len(betas), betas=name)
    return ProcessConfig(T=len(betas), betas=tuple(betas.tolist()))


def write(prior: Prior, folder: str | os.PathLike[str]) -> None:
    """Write a folder that `diffusers.DDPMPipeline.from_pretrained` reads and samples from.

    Raises UserError, saying why, where diffusers cannot express the network, the process or the noise.
    """
    config, network = prior.config, prior.network
    law = config.noise.get("kind", "white")
    need(law == "white", f"diffusers draws white noise only and this prior was trained with {law}")
    _, height, width = config.shape
    if isinstance(network, UNet):
        values = to_unet2d(network.config, height, width)
        state = weights_to_unet2d(network.state_dict(), network.config)
    else:
        need("data_std" not in config.network, "only chains can be written for DDPMPipeline, this is an EDM")
        values = {k: v for k, v in config.network.items() if k != "kind"} | {"_class_name": "UNet2DModel"}
        state = network.state_dict()
    values["_diffusers_version"] = version("diffusers")
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": version("diffusers"),
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    described = scheduler_config(config)
    with written_aside(folder) as tmp:
        write_json(tmp / INDEX, index)
        (tmp / "unet").mkdir()
        (tmp / "scheduler").mkdir()
        write_json(tmp / "unet" / "config.json", values)
        write_json(tmp / "scheduler" / SCHEDULER, described)
        tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
        save_file(tensors, tmp / "unet" / WEIGHTS, metadata={"format": "pt"})


def scheduler_config(config: PriorConfig) -> dict[str, Any]:
    """scheduler_config.json of the DDPMScheduler for a prior's process. Raises UserError if there is none."""
    process = config.process
    need(process.kind == "vp", f"DDPMScheduler knows variance-preserving chains, not {process.kind}")
    need(not process.unit_labels, "DDPMScheduler tells timesteps, and this network is told unit labels")
    names = {target: name for name, target in TARGETS.items()}
    if config.predicts not in names:
        raise UserError(f"DDPMScheduler has no networks that predict {config.predicts}")
    if process.betas == "cosine":
        table: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}
    else:
        table = {"trained_betas": process.table().tolist()}
    variances = {"fixed": "fixed_small", "learned": "learned", "learned_range": "learned_range"}
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": version("diffusers"),
        "num_train_timesteps": process.T,
        **table,
        "prediction_type": names[config.predicts],
        "variance_type": variances[config.variance],
        "clip_sample": config.clip,
        "clip_sample_range": 1.0,
    }
