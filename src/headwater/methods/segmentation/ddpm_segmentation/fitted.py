"""Fitted pixel classifiers: what `DDPMSegmentation.fit` returns, and how it is kept in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from headwater.atomic import read_json, verify, write_json, written_aside
from headwater.errors import UserError, need
from headwater.methods.segmentation.ddpm_segmentation.decoder_features import read_features
from headwater.methods.segmentation.ddpm_segmentation.pixel_classifier import PixelEnsemble
from headwater.models import Prior
from headwater.sampling import Run

_FORMAT = 1
_NUMBERS, _WORDS = "classifiers.safetensors", "classifiers.json"


@dataclass(frozen=True, eq=False)
class PixelClassifiers:
    """An ensemble and the features that it reads.

    noise: (1, C, H, W), the one field that every picture, training or new, is noised with.
    steps, blocks: as in `DDPMSegmentation`; blocks ascend.
    """

    ensemble: PixelEnsemble
    noise: Tensor
    steps: tuple[int, ...]
    blocks: tuple[int, ...]

    def read(self, prior: Prior, image: Tensor, run: Run) -> list[Tensor]:
        """The features of pictures (B, C, H, W): see `read_features`.

        Raises UserError for pictures of another shape, or a prior of another network, than was fitted on.
        """
        need(
            image.shape[1:] == self.noise.shape[1:],
            f"pictures are {tuple(image.shape[1:])}, the classifiers were fitted on "
            f"{tuple(self.noise.shape[1:])}: resize the pictures or fit again",
        )
        maps = read_features(prior, image, self.steps, self.blocks, self.noise, run)
        need(
            sum(m.shape[1] for m in maps) == self.ensemble.dim,
            "these classifiers were fitted on another prior's features: apply them with that prior, or fit "
            "again",
        )
        return maps

    def save(self, folder: str | Path) -> None:
        """Write `classifiers.safetensors` and `classifiers.json`, whole or not at all."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.ensemble.state_dict().items()}
        about = {
            "format": _FORMAT,
            "members": self.ensemble.members,
            "dim": self.ensemble.dim,
            "classes": self.ensemble.classes,
            "steps": list(self.steps),
            "blocks": list(self.blocks),
        }
        with written_aside(folder) as aside:
            save_file({"noise": self.noise.detach().cpu().contiguous(), **state}, aside / _NUMBERS)
            write_json(aside / _WORDS, about)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> PixelClassifiers:
        """Read what `save` wrote. Raises UserError for a folder that is damaged or not one of these."""
        folder = Path(folder)
        need(
            verify(folder).keys() >= {_NUMBERS, _WORDS},
            f"{folder} holds no pixel classifiers: fit some first",
        )
        about = read_json(folder / _WORDS)
        need(about.get("format") == _FORMAT, f"{folder} has another format: read it with a newer headwater")
        members, dim, classes = (_positive(about, name, folder) for name in ("members", "dim", "classes"))
        # Checked before allocation: a wrong number in the JSON must not ask for terabytes.
        try:
            state = load_file(folder / _NUMBERS, device)
            noise = state.pop("noise")
            need(
                state["weights.0"].shape[:2] == (members, dim) and state["weights.2"].shape[2] == classes,
                f"the two files in {folder} disagree: fit again",
            )
            ensemble = PixelEnsemble(members, dim, classes)
            ensemble.load_state_dict(state)
        except (SafetensorError, KeyError, IndexError, RuntimeError):
            raise UserError(f"{folder / _NUMBERS} holds no pixel classifiers: fit again") from None
        steps, blocks = (_whole(about, name, folder) for name in ("steps", "blocks"))
        return cls(ensemble.to(device).eval(), noise, steps, blocks)


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


def _positive(about: dict[str, Any], name: str, folder: Path) -> int:
    value = about.get(name)
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{folder / _WORDS} gives no {name}: fit again")
    return value


def _whole(about: dict[str, Any], name: str, folder: Path) -> tuple[int, ...]:
    value = about.get(name)
    if not isinstance(value, list) or not all(isinstance(v, int) for v in value):
        raise UserError(f"{folder / _WORDS} gives no {name}: fit again")
    return tuple(value)
