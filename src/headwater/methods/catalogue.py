"""The methods by name, as strings only: listing them imports none of them."""

from __future__ import annotations

import difflib
import typing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from headwater.errors import UserError

if TYPE_CHECKING:
    from headwater.methods.base import Method
    from headwater.models import Pretrained


@dataclass(frozen=True)
class Entry:
    """One line of `headwater list`."""

    chapter: str
    room: str
    """Folder of the method below its chapter."""
    attribute: str
    summary: str

    def module(self, name: str) -> ModuleType:
        """A module of the method's room: `method`, `claim`."""
        return import_module(f"headwater.methods.{self.chapter}.{self.room}.{name}")

    def load(self) -> type[Method]:
        """The method's class."""
        return getattr(self.module("method"), self.attribute)

    @property
    def folder(self) -> Path:
        """The method's room."""
        return Path(__file__).parent / self.chapter / self.room

    def recipe(self, given: str) -> Path:
        """The recipe of that name in the method's room, or else the file `given`."""
        return recipe_file(self.folder / "recipes", given)


METHODS: dict[str, Entry] = {
    "repaint": Entry("restoration", "repaint", "RePaint", "fill any hole with any unconditional prior"),
    "anoddpm": Entry("anomaly", "anoddpm", "AnoDDPM", "find what a prior of healthy pictures would not draw"),
    "ddpm-segmentation": Entry(
        "segmentation",
        "ddpm_segmentation",
        "DDPMSegmentation",
        "label every pixel from 20 labelled pictures and a frozen prior",
    ),
    "segdiff": Entry(
        "segmentation",
        "segdiff",
        "SegDiff",
        "train on masks, draw several for each picture, keep what they agree on",
    ),
    "implicit-ensembles": Entry(
        "segmentation",
        "implicit_ensembles",
        "ImplicitEnsembles",
        "train on masks; their mean segments, their variance says where to look twice",
    ),
    "d3pm": Entry("text", "d3pm", "D3PM", "write and complete texts by undoing random edits"),
    "diffuseq": Entry("text", "diffuseq", "DiffuSeq", "rewrite texts, all words at once"),
    "clip-diffusion-lm": Entry(
        "text", "clip_diffusion_lm", "CLIPDiffusionLM", "caption pictures, all words at once"
    ),
    "csdi": Entry("series", "csdi", "CSDI", "fill gaps in series, or forecast them, with intervals"),
    "diffpure": Entry(
        "robustness",
        "diffpure",
        "DiffPure",
        "wash an attack out of a picture with noise and a walk back",
    ),
    "glide": Entry("synthesis", "glide", "Glide", "draw what a caption says"),
    "glide-inpaint": Entry(
        "synthesis", "glide_inpaint", "GlideInpaint", "fill a hole with what a caption says"
    ),
    "d3pm-images": Entry(
        "synthesis",
        "d3pm_images",
        "D3PMImages",
        "draw pictures by undoing random changes of grey values",
    ),
    "score-mri": Entry(
        "medical",
        "score_mri",
        "ScoreMRI",
        "reconstruct undersampled k-space with any magnitude prior",
    ),
}


def entry(name: str) -> Entry:
    """The entry of a method. Raises UserError, naming the nearest one, if there is none."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(METHODS)}"
        raise UserError(f"no method is called {name!r}: {hint}")
    return METHODS[name]


def trained(kind: str) -> type[Pretrained] | None:
    """The class of what `headwater fit KIND` makes, a prior's included; None for an unknown kind."""
    if kind == "prior":
        return import_module("headwater.models").Prior
    hints = typing.get_type_hints(METHODS[kind].load().apply) if kind in METHODS else {}  # pyright: ignore[reportAttributeAccessIssue]
    return hints.get("fitted")


def recipe_file(folder: Path, given: str) -> Path:
    """The recipe of that name in a folder, or else the file `given`.

    Raises UserError, naming the recipes that there are, for a plain name that is neither.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if given in known:
        return folder / f"{given}.yaml"
    path = Path(given)
    if len(path.parts) == 1 and not path.suffix and not path.exists():
        near = difflib.get_close_matches(given, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}, or give a file"
        raise UserError(f"there is no recipe {given!r}: {hint}")
    return path
