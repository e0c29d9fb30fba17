"""One trained thing of any kind: networks by name, the config that describes them, a folder for both."""

from __future__ import annotations

import dataclasses
import os
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from headwater.digest import digest
from headwater.errors import UserError
from headwater.models import folder as kept
from headwater.models.filling import Parts, assembled
from headwater.models.folder import Layout, Shapes

_RECORD = ("config", "source", "file_hash")


@dataclass(frozen=True, eq=False)
class Pretrained(ABC):
    """Networks with the process, vocabulary or scale that they were trained with.

    A subclass names its `kind`, annotates `config` with a frozen dataclass, whose annotations are the schema
    that a file is checked against and whose `__post_init__` refuses sizes that cannot be, and builds its
    networks in `networks`. Further networks and tensors are further fields; one that is None is left out of
    the folder.
    """

    network: nn.Module
    """The main network."""
    config: Any
    """Everything about it but its weights."""
    source: str = field(default="", kw_only=True)
    """Where it was read from, for the record."""
    file_hash: str = field(default="", kw_only=True)
    """SHA-256 of the weights file that it was read from; empty for what was made in memory."""

    kind: ClassVar[str]
    """What config.json calls it."""
    tags: ClassVar[tuple[str, ...]] = ()
    """What the card calls it, besides diffusion."""
    home: ClassVar[str] = ""
    """Where the card imports it from, unless from its module."""
    example: ClassVar[tuple[str, ...]] = ()
    """Lines of the card that use it, after the one that reads it."""
    frozen: ClassVar[bool] = True
    """Whether weights that are read want no gradient."""

    @classmethod
    @abstractmethod
    def networks(cls, config: Any) -> Parts:
        """The networks and tensors of a config by the names of their fields, with fresh weights.

        Raises ValueError for sizes that do not go together.
        """

    @classmethod
    def config_class(cls) -> type[Any]:
        """The dataclass that `config` is annotated with."""
        return typing.get_type_hints(cls)["config"]

    @classmethod
    def fresh(cls, config: Any, seed: int) -> Self:
        """One with untrained weights, which depend on the seed alone; torch's generator stays as it was.

        Raises UserError for sizes that cannot be.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                parts: Any = cls.networks(config)
                return cls(config=config, **parts)
            except ValueError as error:
                raise UserError(str(error)) from None

    @classmethod
    def from_pretrained(
        cls, where: str | os.PathLike[str], *, revision: str | None = None, device: str = "cpu"
    ) -> Self:
        """Read what `save_pretrained` wrote, weights in float32, in evaluation mode; nothing in it is run.

        where: the folder, the output folder of `headwater fit`, the name of one that ships, or a hub name
        `org/name`, of which `revision` picks a branch, tag or commit. Raises UserError, in one sentence, for
        a folder that is damaged, of another kind, or describes other networks than it holds.
        """
        return kept.read(cls, kept.located(where, revision)).to(device)

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """How the method's authors keep a network with these names and shapes.

        settings: what names and shapes do not say, as the authors' own configuration file names it.
        """
        raise UserError(f"no published layout of {cls.kind} is known: fit one")

    @classmethod
    def from_published(
        cls, weights: str | os.PathLike[str], settings: Mapping[str, Any] | None = None
    ) -> Self:
        """A checkpoint of the method's authors (.pt, .pth or .safetensors), as `published` lays it out.

        Names and shapes are compared before anything of the network's size is allocated. Raises UserError
        for a file that does not fit, or settings that are missing.
        """
        return kept.read_published(cls, Path(weights), settings or {})

    def save_pretrained(self, folder: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
        """Write config.json, model.safetensors, README.md and manifest.json, whole or not at all.

        dtype: how weights are stored (torch.float16 halves the file); they are always read as float32.
        Raises UserError when the folder cannot be written or the weights do not fit the dtype.
        """
        kept.write(self, folder, dtype)

    def push_to_hub(self, repo_id: str, *, private: bool = False, dtype: torch.dtype | None = None) -> str:
        """Upload what `save_pretrained` writes, card included, to the hub; returns the commit's address.

        repo_id: `org/name`; it is created, private if asked, unless it exists. Raises UserError when the
        hub refuses.
        """
        from headwater.models.hub import push

        return push(self, repo_id, private, dtype)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the weights: of the file it was read from, else of the state at the first call."""
        return self.file_hash or digest(self.root().state_dict())

    @property
    def shape(self) -> Any:
        """Channels, height and width of its pictures; None where it is not about pictures."""
        return getattr(self.config, "shape", None)

    def check(self, image: Tensor) -> None:
        """Raise UserError unless images (B, C, H, W) have its shape."""
        size, wanted = tuple(image.shape[1:]), tuple(self.shape)
        if size != wanted:
            raise UserError(
                f"the pictures are {size}, this {self.kind} wants {wanted}: resize them or take another "
                f"{self.kind}"
            )

    def parts(self) -> Parts:
        """Its networks and tensors by the names of their fields."""
        held = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _RECORD}
        return {name: part for name, part in held.items() if isinstance(part, nn.Module | Tensor)}

    def root(self) -> nn.Module:
        """All parts under one module, whose state is what the folder keeps."""
        return assembled(self.parts())

    def to(self, device: str) -> Self:
        """The same on a device; networks are moved, not copied."""
        return dataclasses.replace(self, **{name: part.to(device) for name, part in self.parts().items()})

    def described(self) -> dict[str, str]:
        """Rows of the model card, by their heads."""
        count = sum(p.numel() for p in self.root().parameters())
        rows = {name.replace("_", " ").capitalize(): said for name, said in settings(self.config).items()}
        return {"Kind": self.kind, "Network": f"{count / 1e6:.2f} M parameters", **rows}


def settings(config: Any) -> dict[str, str]:
    """The fields of a config that are short to say."""
    held = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    said = {k: str(v) for k, v in held.items() if isinstance(v, int | float | str | tuple)}
    return {k: v for k, v in said.items() if len(v) < 100}
