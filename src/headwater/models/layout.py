"""Where the parts of a diffusers folder lie: pipelines, flat folders, bare U-Nets, training checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from headwater.atomic import read_json
from headwater.errors import UserError, need
from headwater.models import scheduler
from headwater.models.headers import SUFFIXES
from headwater.models.shards import SHARD

INDEX, CONFIG = "model_index.json", "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
UNET = "UNet2DModel"
PARTS = ("unet_ema", "unet")
"""Folders in which diffusers' training script leaves networks, the averaged one first."""
PRECISIONS = ("fp32", "float32", "fp16", "float16", "half", "bf16", "bfloat16")
"""Variants that differ in nothing else, the finest first."""

_FILE = re.compile(
    r"diffusion_pytorch_model(\.(?P<first>[\w-]+))?\.(?P<kind>safetensors|bin)"
    r"(?P<index>\.index(\.(?P<last>[\w-]+))?\.json)?",
    re.IGNORECASE,
)
_LIKE_WEIGHTS = (*SUFFIXES, ".msgpack", ".onnx", ".h5")


@dataclass(frozen=True)
class Place:
    """Where a U-Net of diffusers lies."""

    unet: Path
    """The folder of its config.json."""
    scheduler: Path | None
    """The config of its scheduler, if there is one."""
    remarks: tuple[str, ...] = ()
    """What was chosen on the way."""


def is_theirs(folder: Path) -> bool:
    """Whether this is a pipeline's folder, a bare U-Net's, or a checkpoint that holds one."""
    return (folder / INDEX).is_file() or _class_name(folder) != "" or bool(_parts(folder))


def snapshot(path: Path) -> Path:
    """The snapshot in the hub's cache of a repository, `models--org--name`; any other path as it is.

    That of `main` is taken, or else the only one. Raises UserError where there are several others.
    """
    inner, main = path / "snapshots", path / "refs" / "main"
    if not inner.is_dir() or (path / CONFIG).exists() or (path / INDEX).exists():
        return path
    named = inner / _revision(main) if main.is_file() else None
    if named is not None and named.is_dir():
        return named
    held = sorted(p.name for p in inner.iterdir() if p.is_dir())
    need(len(held) == 1, f"{inner} holds {len(held)} snapshots ({', '.join(held[:3])}): give one of them")
    return inner / held[0]


def _revision(main: Path) -> str:
    """The commit that a branch of the hub's cache stands for."""
    with main.open("rb") as file:
        return file.read(200).decode("utf-8", "replace").strip(" \r\n\0")


def find(folder: Path) -> Place:
    """The U-Net in a folder for which `is_theirs` holds.

    Raises UserError for a pipeline with other parts, or one without its U-Net.
    """
    if (folder / INDEX).is_file():
        name = _part_of_pipeline(folder)
        inner = folder / name
        if not (inner / CONFIG).is_file():  # as older folders on the hub are: all files at the top
            need(
                (folder / CONFIG).is_file(),
                f"{folder} has neither {name}/{CONFIG} nor {CONFIG}: download the whole folder",
            )
            inner = folder
        return Place(inner, _first(_schedulers(folder), _schedulers(inner)))
    if _class_name(folder):
        return _bare(folder)
    parts = _parts(folder)
    found = _bare(folder / parts[0])
    others = f", not {parts[1]}" if parts[1:] else ""
    remark = f"the network in {parts[0]}/ is taken{others}" if others else ""
    near = _first(_schedulers(folder))
    return Place(
        found.unet, near or found.scheduler, (*filter(None, [remark]), *(() if near else found.remarks))
    )


def below(folder: Path) -> list[str]:
    """Names of the folders within this one that hold a prior, ours or theirs; a hundred are looked at."""
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))[:100]
    return [
        p.name
        for p in inner
        if is_theirs(p) or ((p / CONFIG).is_file() and (p / "model.safetensors").is_file())
    ]


def weights(inner: Path) -> tuple[Path, tuple[str, ...]]:
    """The weights of a U-Net's folder (a file, or the index of several), and what was chosen.

    Weights without a variant go first, and safetensors before pickles. Raises UserError where there are none
    or several variants that differ in more than precision.
    """
    variants: dict[str, list[tuple[bool, bool, Path]]] = {}
    for path in sorted(inner.iterdir()):
        found = None if SHARD.search(path.name) else _FILE.fullmatch(path.name)
        if found is not None and path.is_file():
            variant = (found["first"] or found["last"] or "").lower()
            rank = found["kind"].lower() == "bin", found["index"] is not None
            variants.setdefault(variant, []).append((*rank, path))
    best = {variant: min(paths)[2] for variant, paths in variants.items()}
    for paths in [variants[""]] if "" in variants else variants.values():
        same = [path.name for bin_, _, path in paths if bin_ == min(paths)[0]]
        need(
            len(same) == 1,
            f"{inner} holds two sets of weights ({', '.join(same)}): remove the one that is old, or give the "
            "file that you want",
        )
    if "" in best:
        return best[""], ()
    if not best:
        raise UserError(_no_weights(inner))
    known = sorted(best, key=lambda v: PRECISIONS.index(v) if v in PRECISIONS else -1)
    named = ", ".join(path.name for path in best.values())
    need(
        len(best) == 1 or all(variant in PRECISIONS for variant in best),
        f"{inner} holds weights of several variants ({named}) and none without: give the file that you want",
    )
    others = f", not {', '.join(known[1:])}" if known[1:] else ""
    return best[known[0]], (
        f"only variants of its weights lie here: {known[0]} is taken{others}, as float32",
    )


def _no_weights(inner: Path) -> str:
    held = sorted(p.name for p in inner.iterdir() if p.suffix.lower() in _LIKE_WEIGHTS)
    shards = [name for name in held if SHARD.search(name)]
    if shards:
        return f"{inner} has {shards[0]} and no index of such files, {WEIGHTS}.index.json: download it too"
    if any(name.endswith(".msgpack") for name in held):
        return f"{inner} has Flax weights only ({', '.join(held)}): save it again with diffusers for PyTorch"
    if held:
        return (
            f"{inner} has no {WEIGHTS}, but {', '.join(held[:3])}: if these are its weights, give that file"
        )
    return f"{inner} has no weights, such as {WEIGHTS}: download them too, or save the model again"


def _bare(folder: Path) -> Place:
    """A U-Net's own folder, with the scheduler of the pipeline or training that it lies in, if it does."""
    if near := _first(_schedulers(folder)):
        return Place(folder, near)
    home = Path(folder.absolute())
    for outer in list(home.parents)[:2]:
        index = outer / INDEX
        if index.is_file():
            _part_of_pipeline(outer)
        if (index.is_file() or outer == home.parent) and (path := _first(_schedulers(outer))):
            return Place(folder, path, (f"the scheduler that lies with it is taken, {path}",))
    return Place(folder, None)


def _part_of_pipeline(folder: Path) -> str:
    """The name of the U-Net in a pipeline. UserError when it has parts that no prior has."""
    index, unet = read_json(folder / INDEX), ""
    for name, part in index.items():
        if name.startswith("_") or part == [None, None] or not isinstance(part, list):
            continue
        kind = part[1] if len(part) == 2 and part[0] == "diffusers" else None
        need(
            kind == UNET or kind in (*scheduler.CHAINS, *scheduler.EDM),
            f"{folder} is a pipeline with {name} = {part}: only UNet2DModel on pixels, with a scheduler of "
            "DDPM's chain or of EDM, can be a prior here",
        )
        unet = name if kind == UNET else unet
    # Its name becomes a path, so it must be no more than a name.
    need(
        re.fullmatch(r"\w+", unet) is not None,
        f"{folder / INDEX} names no {UNET}: only that can be a prior here",
    )
    return unet


def _class_name(folder: Path) -> str:
    """The class that a folder's config.json names; empty without one."""
    path = folder / CONFIG
    return str(read_json(path).get("_class_name", "")) if path.is_file() else ""


def _parts(folder: Path) -> list[str]:
    if (folder / CONFIG).exists():
        return []
    return [name for name in PARTS if _class_name(folder / name) == UNET]


def _schedulers(folder: Path) -> Iterator[Path]:
    return (folder / name for name in (f"scheduler/{scheduler.NAME}", scheduler.NAME))


def _first(*paths: Iterator[Path]) -> Path | None:
    return next((path for group in paths for path in group if path.is_file()), None)


def of_unet2d(names: Mapping[str, object]) -> bool:
    """Whether these tensors' names are those of a UNet2DModel."""
    return {"conv_in.weight", "conv_norm_out.weight", "time_embedding.linear_1.weight"} <= names.keys()
