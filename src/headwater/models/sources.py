"""Where priors come from: folders, weights files, shipped names and the Hugging Face hub, in that order."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.errors import UserError, need
from headwater.gallery import find, names
from headwater.models import diffusers, folder, hub, layout, scheduler, shards
from headwater.models.config import PriorConfig
from headwater.models.options import ADM, overridden, process, sort
from headwater.models.prior import Prior
from headwater.models.published import (
    as_fields,
    chain_of,
    classifier_network,
    level_network,
    level_prior,
    published_names,
    refuse_upsampler,
    score_network,
    score_prior,
)
from headwater.models.schema import nearest
from headwater.models.state import AVERAGED_NESTS, contents
from headwater.nets.adm import UNetConfig
from headwater.nets.infer import HEADS, infer_config
from headwater.nets.level_unet import LevelUNetConfig, seen_names
from headwater.notes import note

SIDES = {
    (1, 2, 2, 2): 32,
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}
"""Picture size by channel multipliers, as guided-diffusion's training script chooses them."""
LEVEL_SIDES: Mapping[tuple[float, ...], int] = {(1, 2, 4, 8, 8): 256}
"""The same of networks that are told a level, as DDPM-CD's configuration has it."""


def shipped() -> list[str]:
    """Names of the priors that ship; none where the gallery is not installed."""
    return names("priors")


def load(where: str | os.PathLike[str], revision: str | None, overrides: Mapping[str, Any]) -> Prior:
    """What `Prior.from_pretrained` does, on the CPU."""
    path, name = layout.snapshot(Path(where).expanduser()), os.fspath(where)
    if path.is_dir():
        return _from_folder(path, overrides)
    if path.is_file():
        return from_weights(path, overrides)
    if ships := find("priors", name):
        return dataclasses.replace(_from_folder(ships, overrides), source=name)
    if isinstance(where, str) and folder.HUB_NAME.fullmatch(name) and not path.suffix:
        return dataclasses.replace(_from_folder(hub.download(name, revision), overrides), source=name)
    hint = nearest(name, shipped()) if shipped() else ": give a folder, a weights file or a hub name org/name"
    raise UserError(f"there is no prior {name!r}{hint}")


def _from_folder(path: Path, overrides: Mapping[str, Any]) -> Prior:
    if layout.is_theirs(path):
        return diffusers.read(path, overrides)
    path = folder.inner(path)
    if folder.is_ours(path):
        told = _with_scheduler(overrides)
        return folder.read(Prior, path, lambda config: overridden(config, told))
    raise UserError(f"{path} holds no prior: {what_to_give(path)}")


def what_to_give(path: Path) -> str:
    """What to give in place of a folder that is no prior's."""
    held = layout.below(path) if path.is_dir() else []
    if held:
        return f"give one of those in it: {', '.join(held[:5])}{', ...' * (len(held) > 5)}"
    return f"give a folder with {folder.CONFIG} or {layout.INDEX}, or a weights file"


def _with_scheduler(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with a scheduler's config read; what is said beside it goes before."""
    said = dict(overrides)
    told = said.pop("scheduler", None)
    return said if told is None else {**scheduler.overrides(told), **said}


def from_weights(path: Path, overrides: Mapping[str, Any] | None = None) -> Prior:
    """A prior from weights of guided-diffusion, score-SDE, Score-MRI or DDPM-CD.

    The architecture is read from names and shapes. Not in the file, and so assumed and noted: what goes with
    the published network of that structure (`published`), and otherwise a linear chain of 1,000 steps, noise
    predicted, pictures of the size that the reference trains such networks on (`SIDES`), a learned range of
    variances where there are twice as many channels out as in. All can be overridden.

    Weights of a diffusers U-Net are read with the config.json beside them.
    """
    shards.refuse_single(path)
    if layout.of_unet2d(contents(path).entries):
        need(
            layout.is_theirs(path.parent),
            f"{path} is of diffusers' UNet2DModel: put its config.json beside it, then give it again",
        )
        return diffusers.read(path.parent, overrides, path)
    found = config_of_weights(path, overrides or {})
    fit = folder.Fit(
        found.rename, found.under, advice="leave out what was said of its network, or get another copy"
    )
    network = folder.filled_network(found.config.build_network, path, fit)
    for remark in found.remarks:
        note(remark, path)
    return Prior(network, found.config, source=str(path), file_hash=shards.file_hash(path))


@dataclass(frozen=True)
class Found:
    """A prior in a weights file, before the weights are read."""

    config: PriorConfig
    under: str = ""
    """What the names of its tensors begin with in the file."""
    remarks: tuple[str, ...] = ()
    """What was assumed or left out, in sentences."""
    rename: folder.Rename = lambda name: name
    """From the names of its tensors to ours."""


def config_of_weights(path: Path, overrides: Mapping[str, Any]) -> Found:
    """The config that `from_weights` arrives at, from the file's headers alone."""
    said = _with_scheduler(overrides)
    under, left = chosen(path)
    score = score_network(_shapes(path, under))
    if score is not None:
        remark = "the file says nothing of its process: that of the published network like it is assumed"
        config = overridden(score_prior(score), said)
        return Found(config, under, (*left, *(() if "process" in said else (remark,))))
    level = level_of_weights(path, int(said.get("groups", 32)))
    if level is not None:
        config = overridden(level_prior(level, _shape(level, path, said.get("shape"), LEVEL_SIDES)), said)
        config.check_side(len(level.channel_mult), str(path))
        remark = (
            "the file does not say how it was trained, so assumed as in DDPM-CD's configuration: "
            f"{config.process.range()} of {config.process.T} steps, {config.network['groups']} groups in "
            f"each norm, pictures of {'x'.join(map(str, config.shape))}"
        )
        apart = "init_conv.weight" in _shapes(path, under)
        return Found(config, under, (*left, remark), seen_names if apart else lambda name: name)
    given = sort(said, ADM)
    network = network_of_weights(path, given.network)
    refuse_upsampler(network, path)
    twice = network.out_channels == 2 * network.in_channels
    base = PriorConfig(
        as_fields(network),
        _shape(network, path, given.prior.pop("shape", None)),
        given.prior.pop("process", None) or process(chain_of(network), given.process),
        variance="learned_range" if twice else "fixed",
    )
    config = overridden(base, given.prior)
    config.check_side(len(network.channel_mult), str(path))
    return Found(config, under, (*left, *_assumed(config, network, said)))


def _assumed(config: PriorConfig, network: UNetConfig, said: Mapping[str, Any]) -> tuple[str, ...]:
    """What guided-diffusion's weights do not say and nobody said, in one sentence if there is any."""
    heads = network.num_heads if network.num_head_channels == -1 else None
    per = f"{heads} heads" if heads else f"heads of {network.num_head_channels} channels"
    parts = {
        ("betas", "process"): f"{config.process.range()} of {config.process.T} steps",
        ("predicts",): f"{config.predicts} as the answer",
        ("shape",): f"pictures of {'x'.join(map(str, config.shape))}",
        HEADS if network.attention_resolutions else ("shape",): f"attention in {per}",
    }
    words = [what for names, what in parts.items() if not any(name in said for name in names)]
    if not words:
        return ()
    same = published_names(network)
    why = f", as in the published {same[0]}" if same else ""
    return (
        f"weights do not say how they were trained, so assumed{why}: {', '.join(words)}; if it was trained "
        "otherwise, say so by headwater convert PRIOR NEW with --scheduler or --betas, --predicts, --shape, "
        "--num-heads, and use NEW (in Python, give these words to Prior.from_pretrained)",
    )


def chosen(path: Path) -> tuple[str, tuple[str, ...]]:
    """What the names of a prior's network begin with in a file that holds more, and what was left out.

    Trainers keep a network beside its averages (Lightning: `model.` and `ema_model.`), or with tables.
    """
    held = contents(path).entries
    roots = [
        name.removesuffix(anchor)
        for anchor in ("input_blocks.0.0.weight", "all_modules.0.W", "noise_level_mlp.1.weight")
        for name in held
        if name == anchor or name.endswith(f".{anchor}")
    ]
    if "" in roots or not roots:
        return "", ()
    latent = next(
        (name for name in held if name.startswith(("first_stage_model.", "cond_stage_model."))), None
    )
    need(
        latent is None,
        f"{path} is a latent diffusion model (it holds {latent}): only networks on pixels can be a prior",
    )
    averaged = [root for root in roots if root.split(".")[0] in AVERAGED_NESTS]
    root = averaged[0] if len(averaged) == 1 else roots[0]
    need(
        len(roots) == 1 or len(averaged) == 1,
        f"{path} holds several networks ({', '.join(r.rstrip('.') for r in roots)}): save the one that you "
        "want in a file of its own",
    )
    rest = [name for name in held if not name.startswith(root)]
    if not rest:
        return root, ()
    return root, (
        f"the network under {root.rstrip('.')!r} is taken, and {len(rest)} other tensors ({rest[0]}, ...) "
        "are not",
    )


def network_of_weights(path: Path, overrides: Mapping[str, Any]) -> UNetConfig:
    """The U-Net behind a weights file. Raises UserError when it is not guided-diffusion's."""
    shapes = _shapes(path, chosen(path)[0])
    try:
        return infer_config(shapes, **overrides)
    except ValueError as error:
        if classifier_network(shapes) is not None:
            raise UserError(
                f"{path} is a classifier of noisy pictures, no prior: read its network with "
                "headwater.models.published.load_published"
            ) from None
        raise UserError(f"{path} is no guided-diffusion network ({str(error).rstrip('.')})") from None


def level_of_weights(path: Path, groups: int = 32) -> LevelUNetConfig | None:
    """The network behind a weights file that is told a level; None when it is another one."""
    return level_network(_shapes(path, chosen(path)[0]), groups)


def _shapes(path: Path, under: str) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in contents(path, under).entries.items()}


def _shape(
    network: UNetConfig | LevelUNetConfig,
    path: Path,
    given: Any,
    sides: Mapping[tuple[float, ...], int] = SIDES,
) -> tuple[int, int, int]:
    if given is not None:
        need(len(tuple(given)) == 3, f"shape is {given!r}: give channels, height and width")
        return tuple(given)
    side = sides.get(tuple(network.channel_mult))
    if side is None:
        raise UserError(
            f"{path} does not say how large its pictures are: say it by headwater convert PRIOR NEW --shape "
            f"{network.in_channels} HEIGHT WIDTH and use NEW; in Python, pass shape=(channels, height, width)"
        )
    return network.in_channels, side, side
