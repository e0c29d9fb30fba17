"""Where priors come from: folders, weights files, shipped names and the Hugging Face hub, in that order."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.atomic import sha256
from headwater.errors import UserError, need
from headwater.gallery import find, names
from headwater.models import diffusers, folder, hub
from headwater.models.config import PriorConfig
from headwater.models.options import ADM, overridden, process, sort
from headwater.models.prior import Prior
from headwater.models.published import (
    as_fields,
    chain_of,
    classifier_network,
    refuse_upsampler,
    score_network,
    score_prior,
)
from headwater.models.schema import nearest
from headwater.models.state import contents
from headwater.nets.adm import UNetConfig
from headwater.nets.infer import infer_config

SIDES = {
    (1, 2, 2, 2): 32,
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}
"""Picture size by channel multipliers, as guided-diffusion's training script chooses them."""


def shipped() -> list[str]:
    """Names of the priors that ship; none where the gallery is not installed."""
    return names("priors")


def load(where: str | os.PathLike[str], revision: str | None, overrides: Mapping[str, Any]) -> Prior:
    """What `Prior.from_pretrained` does, on the CPU."""
    path, name = Path(where).expanduser(), os.fspath(where)
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
    if diffusers.is_theirs(path):
        return diffusers.read(path, overrides)
    path = folder.inner(path)
    if folder.is_ours(path):
        return folder.read(Prior, path, lambda config: overridden(config, overrides))
    raise UserError(
        f"{path} holds no prior: give a folder with {folder.CONFIG} or {diffusers.INDEX}, or a weights file"
    )


def from_weights(path: Path, overrides: Mapping[str, Any] | None = None) -> Prior:
    """A prior from guided-diffusion's weights, or a published score network's (score-SDE, Score-MRI).

    The architecture is read from names and shapes. Not in the file, and so assumed: what goes with the
    published network of that structure (`published`), and otherwise a linear chain of 1,000 steps, noise
    predicted, pictures of the size that the reference trains such networks on (`SIDES`), a learned range of
    variances where there are twice as many channels out as in. All can be overridden.
    """
    config = config_of_weights(path, overrides or {})
    network = folder.filled_network(config.build_network, path)
    return Prior(network, config, source=str(path), file_hash=sha256(path))


def config_of_weights(path: Path, overrides: Mapping[str, Any]) -> PriorConfig:
    """The config that `from_weights` arrives at, from the file's headers alone."""
    score = score_network(_shapes(path))
    if score is not None:
        return overridden(score_prior(score), overrides)
    given = sort(overrides, ADM)
    network = network_of_weights(path, given.network)
    refuse_upsampler(network, path)
    twice = network.out_channels == 2 * network.in_channels
    base = PriorConfig(
        as_fields(network),
        _shape(network, path, given.prior.pop("shape", None)),
        given.prior.pop("process", None) or process(chain_of(network), given.process),
        variance="learned_range" if twice else "fixed",
    )
    return overridden(base, given.prior)


def network_of_weights(path: Path, overrides: Mapping[str, Any]) -> UNetConfig:
    """The U-Net behind a weights file. Raises UserError when it is not guided-diffusion's."""
    shapes = _shapes(path)
    try:
        return infer_config(shapes, **overrides)
    except ValueError as error:
        if classifier_network(shapes) is not None:
            raise UserError(
                f"{path} is a classifier of noisy pictures, no prior: read its network with "
                "headwater.models.published.load_published"
            ) from None
        raise UserError(f"{path} is no guided-diffusion network ({str(error).rstrip('.')})") from None


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in contents(path).entries.items()}


def _shape(network: UNetConfig, path: Path, given: Any) -> tuple[int, int, int]:
    if given is not None:
        need(len(tuple(given)) == 3, f"shape is {given!r}: give channels, height and width")
        return tuple(given)
    side = SIDES.get(tuple(network.channel_mult))
    if side is None:
        raise UserError(
            f"{path} does not say how large its pictures are: pass shape=(channels, height, width)"
        )
    return network.in_channels, side, side
