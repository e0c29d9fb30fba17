"""What a published weights file does not say: whose structure it has, its process, its pictures.

Sources: the READMEs and configurations of openai/guided-diffusion, yandex-research/ddpm-segmentation,
yang-song/score_sde_pytorch, HJ-harry/score-MRI and wgcban/ddpm-cd; architectures are in
`nets.adm_published` and `nets.ncsnpp_published`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headwater.errors import UserError, need
from headwater.models.config import PriorConfig, ProcessConfig
from headwater.models.filling import blueprint, fill
from headwater.models.schema import nearest
from headwater.models.state import contents, load_state, unexpected
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_classifier import Classifier, ClassifierConfig
from headwater.nets.adm_published import CLASSIFIERS, UNETS
from headwater.nets.infer import infer_classifier_config
from headwater.nets.level_unet import LevelUNetConfig, infer_level_unet, seen_names
from headwater.nets.ncsnpp import NCSNpp, NCSNppConfig
from headwater.nets.ncsnpp_published import SCORE_NETWORKS
from headwater.notes import note

Known = UNetConfig | ClassifierConfig | NCSNppConfig
Published = Known | LevelUNetConfig
Shapes = Mapping[str, Sequence[int]]

NETWORKS: dict[str, Known] = {**UNETS, **CLASSIFIERS, **SCORE_NETWORKS}
"""Every published network by name: the stem of its file, or the path of score-SDE's configuration."""

_LINEAR = ProcessConfig()
_CHAINS = {"64x64_diffusion": ProcessConfig(betas="cosine")}
"""Guided diffusion's models are trained on linear chains of 1,000 steps but for these."""
_LARGEST_SIGMA = {32: (1000, 50.0), 320: (2000, 378.0)}
"""Levels and largest sigma of variance-exploding networks, by the side of their pictures."""


def published_names(config: Published) -> tuple[str, ...]:
    """The published networks of this structure; dropout, which leaves no trace in weights, aside."""
    plain = replace(config, dropout=0.0)
    return tuple(name for name, known in NETWORKS.items() if replace(known, dropout=0.0) == plain)


def chain_of(config: UNetConfig) -> ProcessConfig:
    """The chain that guided-diffusion's model of this structure was trained on; linear for an unknown one."""
    return next((_CHAINS[name] for name in published_names(config) if name in _CHAINS), _LINEAR)


def score_network(shapes: Shapes) -> NCSNppConfig | None:
    """The published score network with these names and shapes; None when there is none."""
    if "sigmas" not in shapes or not any(name.startswith("all_modules.") for name in shapes):
        return None
    found = {name: tuple(shape) for name, shape in shapes.items()}
    return next((c for c in SCORE_NETWORKS.values() if not unexpected(_score_shapes(c), found)), None)


@lru_cache
def _score_shapes(config: NCSNppConfig) -> Mapping[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(v.shape) for name, v in NCSNpp(config).state_dict().items()}


def score_prior(config: NCSNppConfig) -> PriorConfig:
    """The prior around a published score network.

    DDPM++ answers the noise in pictures in [-1, 1], told 999 times the time of the VP-SDE. NCSN++ answers the
    score of pictures in [0, 1], told sigma; its estimates are not clipped.
    """
    network = {"kind": "ncsnpp", **dataclasses.asdict(config)}
    shape = (config.channels, config.image_size, config.image_size)
    if config.centred:
        return PriorConfig(network, shape, ProcessConfig("vp_sde"))
    levels, largest = _LARGEST_SIGMA[config.image_size]
    process = ProcessConfig("ve", T=levels, low=0.01, high=largest)
    return PriorConfig(network, shape, process, predicts="score", clip=False)


def level_network(shapes: Shapes, groups: int = 32) -> LevelUNetConfig | None:
    """The network with these names and shapes that is told how much of the data is left, as DDPM-CD keeps it;
    None for another one, or one that sees a picture beside."""
    try:
        apart = "init_conv.weight" in shapes
        own = {seen_names(name) if apart else name: shape for name, shape in shapes.items()}
        found = infer_level_unet(own, groups)
    except ValueError:
        return None
    return found if found.in_channels == found.out_channels else None


def level_prior(config: LevelUNetConfig, shape: tuple[int, int, int]) -> PriorConfig:
    """The prior around such a network, on the chain of DDPM-CD's configurations."""
    return PriorConfig(as_fields(config), shape, ProcessConfig(T=2000, low=1e-6, high=1e-2))


def classifier_network(shapes: Shapes) -> ClassifierConfig | None:
    """Guided diffusion's classifier with these names and shapes; None when there is none."""
    try:
        return infer_classifier_config(shapes)
    except ValueError:
        return None


def load_published(name: str, weights: str | Path) -> nn.Module:
    """The network of that name with weights from a file: for what is no prior, upsamplers and classifiers.

    float32, on the CPU, in evaluation mode. Raises UserError for an unknown name or a file that does not fit.
    """
    need(name in NETWORKS, f"nothing was published as {name!r}{nearest(name, NETWORKS)}")
    path, config = Path(weights), NETWORKS[name]
    held = contents(path)
    network = blueprint(
        lambda: built(config),
        held.entries,
        lambda wrong: f"{path} is not {name} ({wrong}): give its own file",
    )
    if held.remark:
        note(held.remark, path)
    return fill(network, load_state(path))


def built(config: Known) -> nn.Module:
    """The network of a configuration, with fresh weights."""
    if isinstance(config, UNetConfig):
        return UNet(config)
    return Classifier(config) if isinstance(config, ClassifierConfig) else NCSNpp(config)


def refuse_upsampler(config: UNetConfig, path: Path) -> None:
    """UserError for a network that reads a small picture beside the noisy one."""
    for name in published_names(config):
        if name.endswith("upsampler"):
            raise UserError(
                f"{path} is {name}, which enlarges a picture that it is shown: it is no prior; "
                "read its network with headwater.models.published.load_published"
            )


def as_fields(config: Published) -> dict[str, Any]:
    """Kind and fields, as config.json has them."""
    kinds = {
        UNetConfig: "adm",
        ClassifierConfig: "adm-classifier",
        NCSNppConfig: "ncsnpp",
        LevelUNetConfig: "level",
    }
    return {"kind": kinds[type(config)], **dataclasses.asdict(config)}
