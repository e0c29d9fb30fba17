"""What every method page is made of: a paper, hyper-parameters, and typed inputs and outputs.

A method is a frozen dataclass: its fields are the hyper-parameters, the config file and the command line at
once, with the paper's values as defaults. It has `apply` and `evaluate`, and `fit` if it trains something.
The `Kind` of each argument and result tells the command line how to read and write files for it, so a
method page contains no input or output code.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from headwater.data.series import Table
from headwater.data.windows import Draws
from headwater.errors import need
from headwater.modes import evaluating
from headwater.sampling import best_device


@dataclass(frozen=True)
class Paper:
    """Where a method comes from, and what it promises."""

    title: str
    authors: str
    year: int
    arxiv: str
    claim: str
    """The headline claim, in our words, that `headwater reproduce` tests."""
    venue: str = ""
    code: str = ""
    """owner/name of the reference implementation."""

    def bibtex(self, key: str) -> str:
        """The citation."""
        fields = {
            "title": f"{{{self.title}}}",
            "author": self.authors.replace(", ", " and "),
            "year": str(self.year),
            "booktitle": self.venue,
            "eprint": self.arxiv,
            "archivePrefix": "arXiv" if self.arxiv else "",
        }
        lines = ",\n".join(f"  {k} = {{{v}}}" for k, v in fields.items() if v)
        return f"@inproceedings{{{key},\n{lines}\n}}"


@dataclass(frozen=True)
class Kind:
    """How an argument or result of a method is stored in files."""

    name: Literal[
        "images", "measured", "mask", "labels", "ids", "map", "maps", "scores", "texts", "series", "draws",
        "kspace", "magnitude", "complex", "features",
    ]  # fmt: skip
    help: str
    apart: bool = False
    """Whether its items have no partners among those of other arguments: there may be any number of them."""
    several: bool = False
    """Whether an item may be a list, all of which belongs to one item of the other arguments."""


Images = Annotated[Tensor, Kind("images", "a folder of pictures, one picture, an .npz or a shipped set")]
"""float32 (B, C, H, W) in [-1, 1]."""

Collection = Annotated[
    Tensor, Kind("images", "a folder of pictures, an .npz or a shipped set, of any number and names", True)
]
"""float32 (N, C, H, W) in [-1, 1], of which no other argument speaks picture by picture."""

Measured = Annotated[
    Tensor, Kind("measured", "a folder of pictures as they were measured, or one such picture")
]
"""float32 (B, C', H', W') in [-1, 1]: pictures of a size of their own, such as small or grey ones."""

Mask = Annotated[Tensor, Kind("mask", "one lossless mask for all pictures, or a folder with one per picture")]
"""bool (B or 1, 1, H, W); the argument's name says what True means."""

Labels = Annotated[
    Tensor, Kind("labels", "a folder of pictures whose values are classes, a NIfTI volume or a shipped set")
]
"""int64 (B, H, W)."""

Ids = Annotated[Tensor, Kind("ids", "a folder of maps of whole numbers that tell one thing from the next")]
"""int64 (B, H, W): numbers of instances, which say nothing but whether two pixels belong together."""

Map = Annotated[Tensor, Kind("map", "a folder of .npy files and pictures of them")]
"""float32 (B, 1, H, W), any range."""

Scores = Annotated[Tensor, Kind("scores", "a CSV file with one number per item")]
"""float32 (B,)."""

Texts = Annotated[list[str], Kind("texts", "a .jsonl with a field of that name, a .txt or a shipped set")]
"""B strings. A .jsonl row is named by its `name`, `file` or `id`; a result may be a list of candidates."""

References = Annotated[
    list[str] | list[list[str]],
    Kind(
        "texts",
        "a .jsonl with a field of that name, a .txt or a shipped set; all texts of a name count",
        several=True,
    ),
]
"""B strings, or B lists of strings that are all right answers."""

Series = Annotated[
    list[Table], Kind("series", "a CSV with a time column, a folder of such, or a shipped set")
]
"""B tables, each of its own length, NaN where a cell is empty."""

Samples = Annotated[
    list[Draws], Kind("draws", "a folder of .npz files with the draws of each series' empty cells")
]
"""B arrays float32 (samples, M): draws of the M empty cells of a table, row by row."""

Volumes = Annotated[
    list[Tensor],
    Kind("kspace", "complex .npy or fastMRI .h5 k-space, or real .npy sinograms, or a folder of them"),
]
"""B tensors complex64 (H, W) or (coils, H, W), each of its own size, zero where nothing was measured; where a
method says so (slices, H, W), or sinograms float32 (views, detectors)."""

CoilMaps = Annotated[
    list[Tensor],
    Kind("maps", "complex .npy, .npz or .h5 coil maps, one file for all slices or a folder with one each"),
]
"""B or 1 tensors complex64 (coils, H, W): what each coil sees of an image."""

Complex = Annotated[list[Tensor], Kind("complex", "a folder of complex .npy files")]
"""B tensors complex64 (..., H, W), in units of their own."""

Magnitude = Annotated[list[Tensor], Kind("magnitude", "NIfTI, .npy or fastMRI .h5 pictures, or a folder")]
"""B tensors float32 (H, W), or volumes (slices, H, W), in units of their own."""

Features = Annotated[
    list[Tensor],
    Kind(
        "features", "a folder of .npy files (channels, h, w), or of .npz files that hold several such arrays"
    ),
]
"""Maps that a network of the user's own makes of pictures: tensors float32 (B, channels, h, w), each of a
resolution of its own."""


def check_mask(known: Tensor, image: Tensor) -> None:
    """Raise UserError unless `known` is a `Mask` (B or 1, 1, H, W) for images (B, C, H, W)."""
    n, (height, width) = len(image), image.shape[-2:]
    need(
        known.dtype == torch.bool and known.shape[1:] == (1, height, width) and len(known) in (1, n),
        f"the mask is {tuple(known.shape)} of {known.dtype}: give bool ({n} or 1, 1, {height}, {width})",
    )


class Method:
    """Base of all methods. Subclasses are final frozen dataclasses.

    A method with a `prior` reads pictures, masks and label maps at the prior's shape, but larger pictures as
    they are stored where its field `tiled` is true: it cuts them into tiles itself; and pictures of any size
    as they are stored where its field `resize` is true: it resizes them itself. One without says which shape
    it wants by a field or property `shape`, (C, H, W), and what its `fit` returns likewise; where neither
    does, the first picture's is taken.

    Where `fit`, `apply` and `evaluate` declare a `Kind`, NumPy arrays and PIL pictures are taken too; the
    networks of `prior`, `fitted` and `encoder` are moved to the device that the work is done on.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for verb in ("fit", "apply", "evaluate"):
            if verb in vars(cls):
                setattr(cls, verb, _welcoming(vars(cls)[verb]))

    paper: ClassVar[Paper]
    needs: ClassVar[tuple[str, ...]] = ()
    """What it asks for besides a prior, in words: shown by `headwater show`."""
    applied: ClassVar[tuple[str, ...]] = ()
    """Fields that may still be chosen when something fitted is applied, say a number of samples: options of
    `apply` beside --fitted. What `fit` had holds for all others, and for these unless they are given."""

    def learnt(self) -> dict[str, Any]:
        """The fields that decide what `fit` makes: neither those of `applied`, which come later, nor
        `training`, which `train` records itself."""
        later = {*self.applied, "training"}
        return {k: v for k, v in asdict(cast(Any, self)).items() if k not in later}


def kind_of(hint: Any) -> Kind | None:
    """The kind of an annotation, also of one that allows None."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((kind for part in inner if (kind := kind_of(part)) is not None), None)
    return next((m for m in inner if isinstance(m, Kind)), None)


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a method's function; names that only type checkers import are supplied."""
    from headwater.training import Recipe

    return typing.get_type_hints(function, localns={"Recipe": Recipe}, include_extras=True)


def _moved(trained: Any, device: str) -> Any:
    """What was trained, on a device: by its own `to`, or else its network."""
    if hasattr(trained, "to"):
        return trained.to(device)
    network = getattr(trained, "network", None)
    if isinstance(network, nn.Module):
        network.to(device)
    return trained


_TRAINED = ("prior", "fitted", "encoder")
"""Arguments that hold networks."""
_PICTURES = ("images", "measured")
"""Kinds of arguments that are pictures in [-1, 1]. How large what was measured may be is for the method to
say, which knows how it was measured."""


_FAR = 8.0
"""How far from 0 a value of pictures in [-1, 1] may lie: strong noise does, and what no step has clipped."""


def says_class(given: Mapping[str, Any]) -> bool:
    """Whether the arguments of a method's function say which class a prior of classes is to draw: an argument
    `classes`, or the method's own field `label`."""
    said = given.get("classes"), getattr(given.get("self"), "label", None)
    return any(value is not None for value in said)


def limit_of(prior: Any) -> float | None:
    """How far from 0 the values of pictures may lie; None where the prior's data have no bounds."""
    config = getattr(prior, "config", None)
    return _FAR if getattr(config, "clip", True) else None


def _welcoming(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose arguments are converted and moved before it begins."""
    signature = inspect.signature(function)

    @functools.lru_cache(maxsize=1)
    def kinds() -> dict[str, Kind]:
        return {k: kind for k, hint in hints_of(function).items() if (kind := kind_of(hint)) is not None}

    @functools.wraps(function)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        from headwater.methods.inputs import CONVERSIONS, tensor

        given = signature.bind(*args, **keywords)
        far = limit_of(given.arguments.get("prior"))
        for name, value in given.arguments.items():
            kind = kinds().get(name)
            limit = None if kind is not None and kind.name == "measured" else far
            if isinstance(value, Tensor):
                if kind is not None and kind.name in _PICTURES:
                    given.arguments[name] = value = tensor(value, name, limit)
                # A prior may be walked in double precision; networks that look at data compute in single.
                if kind is not None and value.dtype == torch.float64 and "prior" not in given.arguments:
                    given.arguments[name] = value.float()
            elif kind is not None and kind.name in CONVERSIONS and value is not None:
                found = CONVERSIONS["references" if kind.several else kind.name](value, name)
                given.arguments[name] = tensor(found, name, limit) if kind.name in _PICTURES else found
            elif name in _TRAINED:
                if value is not None and hasattr(value, "ready") and not says_class(given.arguments):
                    value.ready()
                given.arguments[name] = _moved(value, keywords.get("device") or best_device())
        with evaluating(*(v for k, v in given.arguments.items() if k in _TRAINED)):
            return function(*given.args, **given.kwargs)

    return wrapped
