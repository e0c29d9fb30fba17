"""Fitted pixel classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.errors import need
from headwater.methods.segmentation.ddpm_segmentation.decoder_features import read_features
from headwater.methods.segmentation.ddpm_segmentation.pixel_classifier import PixelEnsemble
from headwater.models import Prior
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.sampling import Run


@dataclass(frozen=True)
class PixelClassifiersConfig:
    """Sizes of the ensemble and the features that it reads."""

    members: int
    dim: int
    """Numbers that describe one pixel."""
    classes: int
    shape: tuple[int, int, int]
    """(C, H, W) of the pictures."""
    steps: tuple[int, ...]
    """As in `DDPMSegmentation`, and so are `blocks`, which ascend."""
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = (self.members, self.dim, self.classes, *self.shape)
        need(min(sizes) >= 1, "members, dim, classes and the sides of pictures are 1 or more")


@dataclass(frozen=True, eq=False)
class PixelClassifiers(Pretrained):
    """What `DDPMSegmentation.fit` returns: an ensemble, and the noise that its features are read with."""

    network: PixelEnsemble
    config: PixelClassifiersConfig
    noise: Tensor
    """(1, C, H, W), the one field that every picture, training or new, is noised with."""

    kind = "ddpm-segmentation"
    tags = ("image-segmentation",)

    @classmethod
    def networks(cls, config: PixelClassifiersConfig) -> Parts:
        ensemble = PixelEnsemble(config.members, config.dim, config.classes)
        return {"network": ensemble, "noise": torch.zeros(1, *config.shape)}

    @classmethod
    def of(
        cls, ensemble: PixelEnsemble, noise: Tensor, steps: tuple[int, ...], blocks: tuple[int, ...]
    ) -> PixelClassifiers:
        """Those of an ensemble, whose sizes it takes."""
        _, C, H, W = noise.shape
        sizes = ensemble.members, ensemble.dim, ensemble.classes
        return cls(ensemble, PixelClassifiersConfig(*sizes, (C, H, W), steps, blocks), noise)

    def read(self, prior: Prior, image: Tensor, run: Run) -> list[Tensor]:
        """The features of pictures (B, C, H, W): see `read_features`.

        Raises UserError for pictures of another shape, or a prior of another network, than was fitted on.
        """
        need(
            image.shape[1:] == self.noise.shape[1:],
            f"pictures are {tuple(image.shape[1:])}, the classifiers were fitted on "
            f"{tuple(self.noise.shape[1:])}: resize the pictures or fit again",
        )
        maps = read_features(prior, image, self.config.steps, self.config.blocks, self.noise, run)
        need(
            sum(m.shape[1] for m in maps) == self.config.dim,
            "these classifiers were fitted on another prior's features: apply them with that prior, or fit "
            "again",
        )
        return maps


def stacked(members: Sequence[dict[str, Tensor]]) -> PixelEnsemble:
    """An ensemble from the reference's state dicts, one a member (`layers.0.weight` ... `layers.6.bias`).

    A leading `module.`, left by its data-parallel training, is dropped.
    """
    plain = [{k.removeprefix("module."): v for k, v in m.items()} for m in members]

    def all_of(name: str) -> Tensor:
        return torch.stack([m[f"layers.{name}"] for m in plain])

    dim = plain[0]["layers.0.weight"].shape[1]
    ensemble = PixelEnsemble(len(plain), dim, plain[0]["layers.6.bias"].shape[0])
    state: dict[str, Tensor] = {}
    for i, layer in enumerate((0, 3, 6)):
        state[f"weights.{i}"], state[f"biases.{i}"] = all_of(f"{layer}.weight").mT, all_of(f"{layer}.bias")
    for i, layer in enumerate((2, 5)):
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"norms.{i}.{part}"] = all_of(f"{layer}.{part}").flatten()
        state[f"norms.{i}.num_batches_tracked"] = torch.tensor(0)
    ensemble.load_state_dict(state)
    return ensemble.eval()
