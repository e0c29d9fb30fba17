"""One prior, three formats: our folder, guided-diffusion's weights file, a diffusers folder."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from headwater.atomic import file_written_aside
from headwater.errors import UserError, need
from headwater.models import diffusers
from headwater.models.prior import Prior
from headwater.models.schema import nearest
from headwater.nets.adm import UNet

Format = Literal["headwater", "adm", "diffusers"]


def convert(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], to: Format = "headwater", **overrides: Any
) -> Path:
    """Write the prior at `src` (anything that `Prior.from_pretrained` reads) to `dst` in another format.

    to: "headwater", a folder of ours; "adm", guided-diffusion's state dict, a .pt or .safetensors file;
    "diffusers", a folder that DDPMPipeline reads. overrides: as for `Prior.from_pretrained`.

    Returns `dst`. Raises UserError, saying why, where the target cannot express the prior.
    """
    known = ("headwater", "adm", "diffusers")
    need(to in known, f"unknown format {to!r}{nearest(str(to), known)}")
    prior, target = Prior.from_pretrained(src, **overrides), Path(dst)
    ours = prior.config.network.get("kind") in ("ncsnpp", "level")
    need(to == "headwater" or not ours, f"{src} has a network that only our own folders can hold")
    if to == "headwater":
        prior.save_pretrained(target)
    elif to == "diffusers":
        diffusers.write(prior, target)
    else:
        _write_weights(as_adm(prior).network.state_dict(), target)
    return target


def as_adm(prior: Prior) -> Prior:
    """The same prior on our own network. Raises UserError where guided-diffusion's U-Net cannot be it."""
    if isinstance(prior.network, UNet):
        return prior
    from headwater.models.unet2d import from_unet2d, weights_from_unet2d

    need(
        "data_std" not in prior.config.network, "guided-diffusion has no EDM wrapper: this one stays as it is"
    )
    config = from_unet2d({k: v for k, v in prior.config.network.items() if k != "kind"})
    network = UNet(config)
    network.load_state_dict(weights_from_unet2d(prior.network.state_dict(), config), strict=True)
    described = dataclasses.replace(prior.config, network={"kind": "adm", **dataclasses.asdict(config)})
    return Prior(network.eval(), described, source=prior.source)


def _write_weights(state: dict[str, Tensor], target: Path) -> None:
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    if target.suffix.lower() not in (".pt", ".pth", ".bin", ".safetensors"):
        raise UserError(f"{target} names no kind of weights file: end it in .pt or .safetensors")
    with file_written_aside(target) as tmp:
        if target.suffix.lower() == ".safetensors":
            save_file(tensors, tmp, metadata={"format": "pt"})
            return
        try:
            with tmp.open("wb") as file:
                torch.save(tensors, file)
        except RuntimeError as error:  # torch's own of an archive that has no end, over that of the disk
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
