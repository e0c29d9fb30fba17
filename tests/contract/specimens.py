"""What the contract suite feeds a method with: tiny sizes, a tiny prior, tiny inputs of every kind.

Sizes are chosen by the names of fields, which mean the same in every method, so a new method needs no line
here. Where a name means something else in one method, its room may hold recipes/tiny.yaml.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from headwater.cli.methods import hints_of, kinds, takes
from headwater.cli.options import fill, read_options
from headwater.data import save_picture
from headwater.data.series import Table
from headwater.methods.base import Kind
from headwater.methods.catalogue import METHODS
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.operators.named import operator_of

LEVELS = 1000
"""Of the tiny prior: defaults of papers fit."""
SHAPE = (3, 12, 16)
"""Pictures that are not square, and not grey; a method that insists on square or grey ones says so."""

SIZES: dict[str, Any] = {
    # networks, in the words of their configs
    "model_channels": 32, "channel_mult": (1,), "num_res_blocks": 1, "attention_resolutions": (1,),
    "num_heads": 1, "num_head_channels": -1, "dropout": 0.0, "width": 16, "hidden": 16, "dim": 8, "layers": 1,
    "heads": 2, "feedforward": 16, "channels": 8, "step_dim": 8, "time_dim": 8, "feature_dim": 4,
    "encoder_blocks": 1, "encoder_width": 8, "encoder_growth": 4, "text_width": 8, "text_layers": 1,
    "text_heads": 2,
    # chains and data
    "T": 24, "K": 5, "length": 16, "vocabulary": 60, "tokenizer": "word", "words": "trained",
    "features": "trained", "feature_steps": 2, "size": 8, "shape": SHAPE,
    # work
    "factor": 2, "free": 1, "samples": 2, "candidates": 2, "ensemble": 2, "epochs": 1, "smallest": 1,
    "levels": 4, "batch_size": 4, "lr": 1e-3, "blocks": (0, 1),
}  # fmt: skip
FEW = {"steps": 4, "level": 6, "jump": 2, "resample": 2}
"""Steps of a method that walks down a prior or a chain."""
UPDATES = 3
"""Optimiser steps of a training."""


class Exact(nn.Module):
    """eps = sigma x: the exact noise predictor of N(0, 1) data; value by value, so batches cannot matter."""

    def __init__(self, sigma: Tensor) -> None:
        super().__init__()
        self.register_buffer("sigma", sigma)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return self.sigma[label.long() + 1].to(x).reshape(-1, *[1] * (x.ndim - 1)) * x  # pyright: ignore


@cache
def exact_prior(shape: tuple[int, int, int] = SHAPE) -> Prior:
    """A prior of white noise pictures."""
    config = PriorConfig({"kind": "adm"}, shape, ProcessConfig(T=LEVELS), clip=False)
    return Prior(Exact(config.process.build().sigma), config)


@cache
def network_prior(shape: tuple[int, int, int] = SHAPE) -> Prior:
    """A prior with an untrained U-Net that answers something else everywhere."""
    network = {"kind": "adm", "in_channels": shape[0], "out_channels": shape[0], "model_channels": 32}
    network |= {"num_res_blocks": 1, "channel_mult": (1,), "attention_resolutions": ()}
    config = PriorConfig(network, shape, ProcessConfig(T=LEVELS), predicts="v")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = config.build_network()
        for parameter in built.parameters():
            nn.init.normal_(parameter, std=0.05)
    return Prior(built.eval(), config)


def tiny(name: str) -> Any:
    """The method with sizes that take a moment."""
    entry = METHODS[name]
    kind: Any = entry.load()
    file = entry.folder / "recipes" / "tiny.yaml"
    if file.is_file():
        return fill(kind, read_options(file), file.name)
    return _shrunk(kind())


def _shrunk(made: Any, training: bool = False) -> Any:
    """A dataclass with tiny values for the fields whose names are known."""
    wanted = SIZES | ({"steps": UPDATES, "ema": 0.5} if training else FEW)
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _shrunk(value, field.name == "training")
        elif field.name in wanted and value is not None:
            new = wanted[field.name]
            if isinstance(value, str) and not isinstance(new, str):
                new = str(new)
            if isinstance(value, tuple) and not isinstance(new, tuple):
                continue
            changes[field.name] = new
    return dataclasses.replace(made, **changes)


def shape_of(method: Any) -> tuple[int, int, int]:
    """The pictures that a method takes where no prior decides."""
    found = getattr(method, "shape", None)
    return tuple(found) if isinstance(found, tuple) else SHAPE  # pyright: ignore[reportReturnType]


def inputs(function: Callable[..., Any], method: Any, n: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    """n items of every argument that comes from files; those that may be left out are left out."""
    free = {
        k
        for k, p in inspect.signature(function).parameters.items()
        if p.default is not inspect.Parameter.empty
    }
    found = {key: kind for key, kind in kinds(function).items() if key not in free}
    return {
        key: make(key, kind, n, measured_shape(method, shape) if kind.name == "measured" else shape)
        for key, kind in found.items()
    }


def measured_shape(method: Any, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """What a method's measurement makes of pictures."""
    by = getattr(method, "by", None) or f"block-average {method.factor}"  # a method that enlarges
    return tuple(operator_of(by, shape).forward(torch.zeros(1, *shape)).shape[1:])  # pyright: ignore


def make(key: str, kind: Kind, n: int, shape: tuple[int, int, int]) -> Any:
    """n items of a kind; item i does not depend on n."""
    channels, height, width = shape

    def each(draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(torch.Generator().manual_seed(100 + i)) for i in range(n)])

    match kind.name:
        case "images" | "measured":
            return (
                each(lambda g: torch.rand(channels, height, width, generator=g) * 2 - 1)
                if n
                else torch.empty(0, *shape)
            )
        case "mask":
            masks = torch.ones(max(n, 1), 1, height, width, dtype=torch.bool)
            masks[:, :, height // 4 : height // 2, width // 4 :] = False
            return masks
        case "labels":
            return (
                each(lambda g: torch.randint(2, (height, width), generator=g))
                if n
                else torch.empty(0, height, width, dtype=torch.int64)
            )
        case "map":
            return (
                each(lambda g: torch.rand(1, height, width, generator=g))
                if n
                else torch.empty(0, 1, height, width)
            )
        case "scores":
            return torch.arange(1.0, n + 1)
        case "texts":
            words = ("the river runs", "a word is a thing", "the sea is not full", "a river is a word")
            texts = [f"{words[i % 4]} {words[(i + 1) % 4]}" for i in range(n)]
            return [text.replace("r", "_") for text in texts] if key == "hole" else texts
        case "series":
            return [_table(i) for i in range(n)]
        case "kspace":
            return [_kspace(i, height, width) for i in range(n)]
        case "magnitude":
            return [torch.rand(height, width, generator=torch.Generator().manual_seed(i)) for i in range(n)]


def _table(i: int) -> Table:
    rng = np.random.default_rng(i)
    values = rng.normal(50, 10, (20, 2))
    values[3:6, 0] = values[12:14, 1] = np.nan
    return Table(values, np.arange(20.0), ("warm", "cold"), f"t{i}")


def _kspace(i: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(i)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    image = ((y**2 + x**2) < 0.8).float() * (0.5 + 0.1 * torch.rand(height, width, generator=generator))
    k = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(image + 0j), norm="ortho"))
    keep = torch.arange(width) % 2 == 0
    keep[width // 2 - 3 : width // 2 + 3] = True
    return k * keep


def items(value: Any) -> list[Any]:
    """What a result holds, item by item: tensors, texts, arrays of tables."""
    fields = (
        [getattr(value, f.name) for f in dataclasses.fields(value)]
        if dataclasses.is_dataclass(value)
        else [value]
    )
    return [[_plain(one) for one in field] for field in fields if isinstance(field, (Tensor, list, tuple))]


def _plain(one: Any) -> Any:
    if isinstance(one, Table):
        return torch.from_numpy(one.values)
    return torch.from_numpy(one) if isinstance(one, np.ndarray) else one


def same(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    """Whether two results agree, to the bit or within a tolerance."""
    return all(alike(a, b, tolerance) for a, b in zip(items(one), items(other), strict=True))


def alike(left: list[Any], right: list[Any], tolerance: float = 0.0) -> bool:
    """Whether the items of one output agree, to a share of their largest number, or of 1 if it is smaller."""
    if len(left) != len(right):
        return False
    for a, b in zip(left, right, strict=True):
        if not isinstance(a, Tensor):
            agree = a == b
        else:
            a, b = ((torch.view_as_real(v) if v.is_complex() else v).double() for v in (a, b))
            largest = max([1.0, *a.nan_to_num().abs().flatten().tolist()])
            near = {"rtol": 0.0, "atol": tolerance * largest, "equal_nan": True}
            agree = a.shape == b.shape and torch.allclose(a, b, **near)
        if not agree:
            return False
    return True


def part(inputs: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """Some of the items of every input; one mask for all stays."""
    return {k: v if isinstance(v, Tensor) and len(v) == 1 else v[rows] for k, v in inputs.items()}


def files(folder: Path, inputs: Mapping[str, Any], wanted: Mapping[str, Kind]) -> dict[str, str]:
    """The inputs as the files that the command line takes: option -> path."""
    made: dict[str, str] = {}
    for key, value in inputs.items():
        place = folder / key
        match wanted[key].name:
            case "images" | "measured":
                for i, picture in enumerate(value):
                    save_picture(picture, place / f"i{i}.png")
            case "mask" | "labels":
                place.mkdir(parents=True)
                for i, picture in enumerate(value):
                    pixels = picture.reshape(picture.shape[-2:]).to(torch.uint8)
                    scale = 255 if wanted[key].name == "mask" else 1
                    Image.fromarray((pixels * scale).numpy()).save(place / f"i{i}.png")
            case "texts":
                place = folder / f"{key}.jsonl"
                place.parent.mkdir(parents=True, exist_ok=True)
                rows = [{"name": f"i{i}.png", key: text} for i, text in enumerate(value)]
                place.write_text("".join(json.dumps(row) + "\n" for row in rows))
            case "series":
                place.mkdir(parents=True)
                for i, table in enumerate(value):
                    head = ",".join(("time", *table.columns))
                    rows = [
                        f"{t}," + ",".join("" if np.isnan(v) else f"{v:.4f}" for v in row)
                        for t, row in zip(table.times, table.values, strict=True)
                    ]
                    (place / f"i{i}.csv").write_text("\n".join([head, *rows]) + "\n")
            case "kspace" | "magnitude" | "map":
                place.mkdir(parents=True)
                for i, one in enumerate(value):
                    np.save(place / f"i{i}.npy", one.numpy())
            case "scores":
                place = folder / f"{key}.csv"
                place.write_text(
                    "name,score\n" + "".join(f"i{i}.png,{float(v)}\n" for i, v in enumerate(value))
                )
        made[key] = str(place)
    return made


def needs_prior(method: Any, verb: str = "apply") -> bool:
    """Whether a verb takes a prior."""
    return takes(getattr(type(method), verb), "prior")


def hint(function: Callable[..., Any], name: str) -> Any:
    """The annotation of an argument."""
    return hints_of(function).get(name)


def fields_with_help(kind: type) -> dict[str, Any]:
    """Field -> its annotation."""
    return typing.get_type_hints(kind, include_extras=True)
