"""The one folder format: config.json, model.safetensors, README.md and the manifest that makes them whole.

config.json holds `library`, `format`, `kind` and `config`; names in model.safetensors begin with the name of
the network that they belong to. A reader takes the class from its own code and compares `kind` with it: a
file never names code.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from headwater.atomic import read_json, verify, write_json, written_aside
from headwater.errors import UserError, need
from headwater.gallery import shipped_fitted
from headwater.models.card import card
from headwater.models.filling import Parts, assembled, blueprint, fill
from headwater.models.headers import refuse_stand_in
from headwater.models.opcodes import Entry
from headwater.models.schema import build, plain
from headwater.models.shards import file_hash
from headwater.models.state import contents, load_state
from headwater.notes import note

if TYPE_CHECKING:
    from headwater.models.pretrained import Pretrained

P = TypeVar("P", bound="Pretrained")

FORMAT = 2
"""Version of the folder format, the only one that is read."""
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MARK = "headwater"
"""`library` in config.json: tells our folders from diffusers' bare U-Net folders."""
OUTPUTS = ("fitted", "prior")
"""Where `headwater fit` puts what it made, below its output folder."""
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_BEFORE = ("about.json", "classifiers.json")
"""Descriptions of earlier formats."""


Shapes = Mapping[str, tuple[int, ...]]
Rename = Callable[[str], str | None]
"""A name in a file -> that in `Pretrained.root`, or None for what has no place and so must be zero."""


def prefixed(name: str | None) -> str | None:
    """A name in the main network as `Pretrained.root` has it."""
    return None if name is None else f"network.{name}"


@dataclass(frozen=True)
class Layout:
    """A published checkpoint as one of ours."""

    config: Any
    """What `networks` builds."""
    name: Rename
    """Of a tensor in the file: ours. Two that become one must hold the same numbers."""
    further: Parts = field(default_factory=dict)
    """Parts that the file does not hold."""
    unused: Callable[[str], bool] = lambda name: False
    """Whether a tensor in the file is none of ours, such as a table of what the settings say."""


def write(trained: Pretrained, folder: str | os.PathLike[str], dtype: torch.dtype | None = None) -> None:
    """Write something trained so that it is there whole or not at all.

    dtype: float16 or bfloat16 halve the file; None keeps the weights as they are. Raises UserError when
    the place cannot be written, or when float16 cannot hold the weights.
    """
    state = {k: _stored(k, v, dtype) for k, v in trained.root().state_dict().items()}
    about = {"library": MARK, "format": FORMAT, "kind": trained.kind, "config": plain(trained.config)}
    with written_aside(folder) as tmp:
        write_json(tmp / CONFIG, about)
        save_file(state, tmp / WEIGHTS, metadata={"format": "pt"})
        (tmp / CARD).write_text(card(trained), encoding="utf-8")


def read(cls: type[P], folder: Path, change: Callable[[Any], Any] | None = None) -> P:
    """Read a folder of that kind, weights in float32 on the CPU. Raises UserError when anything is amiss.

    change: makes the config that counts of the one in the folder. The card is not checked: people edit it.
    """
    kind, values = description(folder)
    need(kind == cls.kind, f"{folder} holds a {kind}, not a {cls.kind}: give another folder")
    if (folder / WEIGHTS).is_file():
        refuse_stand_in(folder / WEIGHTS)
    hashes = verify(folder, (CONFIG, WEIGHTS))
    for name in (CONFIG, WEIGHTS):
        need(name in hashes, f"{folder} has no {name} in its manifest: use another copy of this folder")
    config = build(cls.config_class(), values, str(folder / CONFIG))
    config = config if change is None else change(config)
    fit = Fit(advice=f"restore {folder / CONFIG}, or use another copy of this folder")
    parts: Any = filled(lambda: cls.networks(config), folder / WEIGHTS, fit, cls.frozen)
    return cls(config=config, **parts, source=str(folder), file_hash=hashes[WEIGHTS])


def read_published(cls: type[P], weights: Path, settings: Mapping[str, Any]) -> P:
    """What `Pretrained.from_published` does."""
    shapes = {name: entry.shape for name, entry in contents(weights).entries.items()}
    try:
        layout = cls.published(shapes, settings)
    except KeyError as error:
        raise UserError(
            f"{weights} is no {cls.kind} of its authors, or {error} is missing in the settings: give them all"
        ) from None
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"{weights} is no {cls.kind} of its authors: {error}") from None

    def networks() -> Parts:
        return {k: v for k, v in cls.networks(layout.config).items() if k not in layout.further}

    advice = "give the settings that it was made with, or another copy of it"
    fit = Fit(layout.name, advice=advice, unused=layout.unused)
    parts: Any = filled(networks, weights, fit, cls.frozen)
    parts |= {**layout.further, "source": str(weights), "file_hash": file_hash(weights)}
    return cls(config=layout.config, **parts)


def description(folder: Path) -> tuple[str, dict[str, Any]]:
    """Kind and config in a folder, unchecked but for the format. Raises UserError for any other folder."""
    need(folder.is_dir(), f"{folder} is no folder: give one that `headwater fit` wrote")
    path, old = folder / CONFIG, any((folder / name).is_file() for name in _BEFORE)
    need(old or path.is_file(), f"{folder} holds nothing that was trained here: give one with {CONFIG}")
    values = {} if old else read_json(path)
    need(old or values.get("library") == MARK, f"{folder} was not written by headwater: give another folder")
    version = values.get("format")
    need(not old and version != 1, f"{folder} was written by an older headwater: fit again")
    need(
        version == FORMAT, f"{path} has format {version}, this version reads {FORMAT} only: upgrade headwater"
    )
    extra = sorted(values.keys() - {"library", "format", "kind", "config"})
    need(not extra, f"{path}: unknown field {extra[:1]}: use another copy of this folder")
    config = values.get("config")
    if not isinstance(config, dict):
        raise UserError(f"{path} has no config: use another copy of this folder")
    return str(values.get("kind")), config


def located(where: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder that is meant: itself, what a fit left in it, one that ships, or a copy from the hub.

    Raises UserError when there is none.
    """
    path, name = Path(where).expanduser(), os.fspath(where)
    if not path.exists() and isinstance(where, str) and HUB_NAME.fullmatch(name) and not path.suffix:
        from headwater.models.hub import download

        return download(name, revision)
    need(not path.is_file(), f"{path} is a file: `headwater convert` makes a folder of published weights")
    return inner(shipped_fitted(path))


def inner(path: Path) -> Path:
    """What a fit left in its output folder; any other folder as it is."""
    if (path / CONFIG).is_file():
        return path
    return next((path / name for name in OUTPUTS if (path / name).is_dir()), path)


def is_ours(folder: Path) -> bool:
    """Whether this folder was written by headwater, now or in an earlier format."""
    if any((folder / name).is_file() for name in _BEFORE):
        return True
    return (folder / CONFIG).is_file() and read_json(folder / CONFIG).get("library") == MARK


@dataclass(frozen=True)
class Fit:
    """How a weights file is laid over networks."""

    rename: Rename = lambda name: name
    """From the file's names to those of the networks, which begin with the network's own."""
    under: str = ""
    """Only tensors whose names begin so, and without that."""
    flat: Callable[[str], bool] = lambda name: False
    """Which tensors of the file, by name, are matrices that stand as convolutions of size one."""
    advice: str = "give the config that it was made with"
    """What to do where they do not fit."""
    hidden: str = ""
    """What sentences leave out of names: where in `filled` the network stands."""
    unused: Callable[[str], bool] = lambda name: False
    """Which tensors of the file, by name, are left out, whatever they hold."""


def filled(networks: Callable[[], Parts], weights: Path, how: Fit = Fit(), frozen: bool = False) -> Parts:
    """Networks and tensors with weights from a file: float32, on the CPU, in evaluation mode.

    Names and shapes are compared before anything of their size is allocated. frozen: whether they want no
    gradient. What was chosen among several sets of weights in the file is noted.
    """

    def misfit(wrong: str) -> str:
        if any("lora" in name.lower() for name in held.entries):
            return f"{weights} holds LoRA layers, which change another network: save that with them fused"
        return f"{weights} does not fit the network described: {wrong.replace(how.hidden, '')}; {how.advice}"

    def shape(name: str, entry: Entry) -> Entry:
        return Entry(entry.dtype, _flattened(entry.shape)) if how.flat(name) else entry

    held = contents(weights, how.under)
    used = {name: entry for name, entry in held.entries.items() if not how.unused(name)}
    entries = {new: shape(k, e) for k, e in used.items() if (new := how.rename(k)) is not None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on layers without numbers
            root = blueprint(lambda: assembled(networks()), entries, misfit)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(misfit((str(error).splitlines() or ["?"])[0])) from None
    if held.remark:
        note(held.remark, weights)
    state: dict[str, Tensor] = {}
    for name, value in load_state(weights, how.under).items():
        if how.unused(name):
            continue
        new = how.rename(name)
        value = value.reshape(_flattened(tuple(value.shape))) if how.flat(name) else value
        known = torch.zeros_like(value) if new is None and value.is_floating_point() else value
        known = known if new is None else state.setdefault(new, value)
        need(torch.equal(known, value), misfit(f"{name} holds other numbers than it must"))
    fill(root, state).requires_grad_(not frozen)
    return {**dict(root.named_children()), **dict(root.named_buffers(recurse=False))}


def filled_network(build: Callable[[], nn.Module], weights: Path, how: Fit = Fit()) -> nn.Module:
    """One network with weights from a file that does not name it."""
    inside = replace(how, rename=lambda name: prefixed(how.rename(name)), hidden=f"network.{how.hidden}")
    parts = filled(lambda: {"network": build()}, weights, inside)
    return cast(nn.Module, parts["network"])


def _flattened(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A matrix's shape without the axes of one that make it a convolution; any other shape as it is."""
    return shape[:2] if len(shape) > 2 and set(shape[2:]) == {1} else shape


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if dtype is None or not tensor.is_floating_point():
        return tensor
    stored = tensor.to(dtype)
    if not bool(stored.isfinite().all()):
        raise UserError(f"{name} does not fit {dtype}: save in torch.float32 or torch.bfloat16")
    return stored
