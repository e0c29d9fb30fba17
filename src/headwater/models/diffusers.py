"""Diffusers folders: a UNet2DModel with its scheduler's config, read by a closed table and written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from headwater.atomic import read_json, write_json, written_aside
from headwater.errors import UserError, need
from headwater.models import layout, scheduler
from headwater.models.config import PriorConfig, ProcessConfig
from headwater.models.folder import Fit, filled_network
from headwater.models.options import overridden
from headwater.models.prior import Prior
from headwater.models.shards import file_hash
from headwater.models.unet2d import checked, to_unet2d, weights_to_unet2d
from headwater.nets.adm import UNet
from headwater.notes import note

_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Layers of attention in weights from before diffusers 0.16 (its PR 3387)."""
_ATTENTION = re.compile(r"(.*\battentions\.\d+\.)(query|key|value|proj_attn)(\.weight|\.bias)")
_MATRIX = re.compile(r".*\battentions\.\d+\.(query|key|value|proj_attn|to_q|to_k|to_v|to_out\.0)\.weight")

UNSAID = (
    "no scheduler_config.json lies with this U-Net, so {} assumed: if it was trained otherwise, say so by "
    "headwater convert PRIOR NEW --scheduler FILE, or --betas and --predicts, and use NEW (in Python, give "
    "these words to Prior.from_pretrained)"
)
"""Said of a checkpoint without its scheduler."""


@dataclass(frozen=True)
class Found:
    """A prior in a diffusers folder, before its weights are read."""

    config: PriorConfig
    weights: Path
    """A file, or the index of several."""
    remarks: tuple[str, ...] = ()
    """What was assumed, chosen or passed over, in sentences."""


def read(
    folder: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    weights: Path | None = None,
) -> Prior:
    """A prior from a diffusers folder, float32, on the CPU. Classes are taken from a table, never by name.

    weights: the file to read, by default the one that the folder's layout says. overrides: as for
    `Prior.from_pretrained`. What was assumed is noted.

    Raises UserError for a pipeline with other parts, weights that want anything run, or an unknown scheduler.
    """
    folder = Path(folder)
    found = read_config(folder, overrides, weights)
    wrapper = "network." if "data_std" in found.config.network else ""
    fit = Fit(
        lambda name: wrapper + current_name(name),
        flat=lambda name: _MATRIX.fullmatch(name) is not None,
        advice="put the config.json that was saved with these weights in its place",
        hidden=wrapper,
    )
    network = filled_network(found.config.build_network, found.weights, fit)
    for remark in found.remarks:
        note(remark, folder)
    return Prior(network, found.config, source=str(folder), file_hash=file_hash(found.weights))


def read_config(
    folder: Path, overrides: Mapping[str, Any] | None = None, weights: Path | None = None
) -> Found:
    """What `read` arrives at, from the folder's JSON files alone."""
    place, said = layout.find(folder), dict(overrides or {})
    path, told = place.unet / layout.CONFIG, said.pop("scheduler", None)
    values = read_json(path)
    kind = values.get("_class_name")
    need(kind == layout.UNET, f"{place.unet} holds a {kind}: only UNet2DModel can be a prior here")
    chosen: tuple[str, ...] = ()
    if weights is None:
        weights, chosen = layout.weights(place.unet)
    network, passed = checked(values, str(path))
    file = place.scheduler if told is None else scheduler.file_of(told)
    if told is not None:
        place = replace(place, remarks=())
    config, assumed = _prior_config(network, file, said, place.unet)
    config = overridden(config, said)
    config.check_side(len(network.get("block_out_channels", range(4))), str(place.unet))
    return Found(config, weights, (*place.remarks, *chosen, *passed, *assumed))


def current_name(name: str) -> str:
    """A tensor's name as diffusers calls it now."""
    found = _ATTENTION.fullmatch(name)
    return name if found is None else f"{found[1]}{_OLD[found[2]]}{found[3]}"


def _prior_config(
    network: dict[str, Any], file: Path | None, said: Mapping[str, Any], unet: Path
) -> tuple[PriorConfig, tuple[str, ...]]:
    """The prior's config, without what `said` overrides but for the size, and remarks."""
    told = scheduler.Told(ProcessConfig(), "eps") if file is None else scheduler.read(file)
    channels, size = network.get("in_channels", 3), network.get("sample_size")
    if "shape" in said and size is None:
        shape = tuple(said["shape"])
        need(len(shape) == 3, f"shape is {said['shape']!r}: give channels, height and width")
        size = shape[1:]
    if size is None:
        raise UserError(
            f"{unet / layout.CONFIG} does not say sample_size, the size of the pictures: say it by headwater "
            f"convert PRIOR NEW --shape {channels} HEIGHT WIDTH and use NEW, or give shape= in Python"
        )
    height, width = size if isinstance(size, tuple) else (size, size)
    answers = network.get("out_channels", 3)
    twice = answers == 2 * channels
    need(
        twice or answers == channels,
        f"{unet} answers {answers} channels to {channels}: only networks that answer as many as they see, or "
        "twice as many, can be a prior",
    )
    need(
        network.get("time_embedding_type") != "fourier",
        f"{unet} tells its network the noise by Fourier features, as those of ScoreSdeVeScheduler are told: "
        "it cannot be read",
    )
    remarks = list(told.remarks)
    if file is None:
        parts = [
            f"a linear noise schedule of {int(said.get('T', told.process.T)):,} steps"
            * _unsaid(said, "betas", "process"),
            "noise (eps) as its answer" * _unsaid(said, "predicts"),
        ]
        if assumed := [part for part in parts if part]:
            remarks.append(UNSAID.format(f"{' and '.join(assumed)} {'are' if assumed[1:] else 'is'}"))
    wrapper = {} if told.data_std is None else {"data_std": told.data_std}
    variance = ("learned" if told.variance == "learned" else "learned_range") if twice else "fixed"
    if twice and file is not None and not told.variance.startswith("learned"):
        remarks.append("it answers twice the channels, so a learned range of variances is assumed")
    config = PriorConfig(
        {"kind": "unet2d", **wrapper, **network},
        (channels, height, width),
        told.process,
        told.predicts,
        "fixed" if wrapper else variance,
        clip=told.clip,
    )
    return config, tuple(remarks)


def _unsaid(said: Mapping[str, Any], *names: str) -> bool:
    return not any(name in said for name in names)


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
        write_json(tmp / layout.INDEX, index)
        (tmp / "unet").mkdir()
        (tmp / "scheduler").mkdir()
        write_json(tmp / "unet" / "config.json", values)
        write_json(tmp / "scheduler" / scheduler.NAME, described)
        tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
        save_file(tensors, tmp / "unet" / layout.WEIGHTS, metadata={"format": "pt"})


def scheduler_config(config: PriorConfig) -> dict[str, Any]:
    """scheduler_config.json of the DDPMScheduler for a prior's process. Raises UserError if there is none."""
    process = config.process
    need(process.kind == "vp", f"DDPMScheduler knows variance-preserving chains, not {process.kind}")
    need(not process.unit_labels, "DDPMScheduler tells timesteps, and this network is told unit labels")
    names = {target: name for name, target in scheduler.TARGETS.items()}
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
