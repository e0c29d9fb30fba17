"""`headwater evaluate METHOD`: results against the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwater.cli.files import Source, kinds
from headwater.cli.methods import chosen, options_of, recorded
from headwater.cli.options import parse
from headwater.cli.work import answer
from headwater.data.pictures import list_pictures
from headwater.errors import need
from headwater.methods.base import Kind


def run(argv: Sequence[str]) -> int:
    """Print the numbers of a method's `evaluate` for a folder that `apply` wrote."""
    name, method, words = chosen(argv, "evaluate")
    assert method is not None
    inputs = kinds(getattr(method, "evaluate"))  # noqa: B009 - each method declares its own arguments
    kind = options_of(name, method, "evaluate", inputs, {}, optional=True)
    kind = dataclasses.make_dataclass(
        kind.__name__,
        [("result", Path), ("out", Path | None, None)],
        bases=(kind,),
        frozen=True,
        kw_only=True,
    )
    options: Any = parse(kind, words, f"headwater evaluate {name}")
    need(options.result.is_dir(), f"--result: {options.result} is no folder that `headwater apply` wrote")
    shape = _shape(options.result)
    sources = {key: _source(key, spec, options, shape) for key, spec in inputs.items()}
    first = next(iter(sources.values()))
    rows = list(range(len(first)))
    given = {k: s.read(rows if s is first else s.beside(first.names)) for k, s in sources.items()}
    numbers = options.method.evaluate(**given)
    lines = "\n".join(f"{key:>16}  {value:.6g}" for key, value in numbers.items())
    return answer(options.json, f"{lines}\n({len(first)} pictures)", numbers)


def _source(key: str, kind: Kind, options: Any, shape: tuple[int, int, int]) -> Source:
    """An input by its option, else from the result folder, else where `apply` had it from."""
    where = getattr(options, key)
    if where is None:
        for candidate in (options.result / key, options.result / f"{key}.csv"):
            if candidate.exists():
                where = str(candidate)
    where = where or recorded(options.result, key)
    need(where is not None, f"--{key.replace('_', '-')}: give {kind.help}")
    return Source(key, kind, str(where), shape, "stop")


def _shape(result: Path) -> tuple[int, int, int]:
    """Channels and size of the pictures in a result folder."""
    from PIL import Image

    pictures = list_pictures(result)
    with Image.open(pictures[0]) as picture:
        return (3 if picture.mode == "RGB" else 1, picture.height, picture.width)
