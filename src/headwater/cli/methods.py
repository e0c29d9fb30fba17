"""Options of a method's verbs, made from the method's own dataclass and the arguments of its functions."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from headwater.cli.work import Work
from headwater.errors import UserError
from headwater.methods.base import Kind, Method
from headwater.methods.catalogue import METHODS, entry


def chosen(argv: Sequence[str], verb: str, also: str = "") -> tuple[str, type[Method] | None, list[str]]:
    """The method named by the first word, its class, and the words after it.

    `also` is a target that is no method (`prior`); its class is None. Exits with 0 for --help.
    """
    targets = [*([also] if also else []), *METHODS]
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: headwater {verb} {{{','.join(targets)}}} ...\n")
        print(f"`headwater {verb} NAME --help` lists the options.")
        raise SystemExit(0 if argv else 2)
    if argv[0] == also:
        return also, None, list(argv[1:])
    if argv[0].startswith("-"):
        raise UserError(f"say which method first: headwater {verb} {{{','.join(targets)}}} ...")
    return argv[0], entry(argv[0]).load(), list(argv[1:])


def options_of(
    name: str,
    method: type[Method],
    verb: str,
    inputs: dict[str, Kind],
    extra: dict[str, Any],
    optional: bool = False,
) -> type[Work]:
    """A dataclass of `Work`, the method's fields, one path per input, and extra required fields.

    extra: name -> (type, help). Inputs become --NAME options with the kind's help.
    """
    fields: list[Any] = [
        ("method", Annotated[method, tyro.conf.arg(name="")], dataclasses.field(default_factory=method))
    ]
    for key, (kind, text) in extra.items():
        fields.append((key, Annotated[kind, tyro.conf.arg(help=text)]))
    for key, kind in inputs.items():
        hint = str | None if optional else str
        spec = (key, Annotated[hint, tyro.conf.arg(help=f"{key}: {kind.help}")])
        fields.append((*spec, dataclasses.field(default=None)) if optional else spec)
    made = dataclasses.make_dataclass(
        f"{verb.title()}{method.__name__}", fields, bases=(Work,), frozen=True, kw_only=True
    )
    made.__doc__ = f"{verb} {name}: {METHODS[name].summary}."
    made.__module__ = __name__
    return made


def fitted_class(function: Callable[..., Any]) -> Any:
    """What `fit` must have made before this function can run: the class of its `fitted` argument, or None."""
    if "fitted" not in inspect.signature(function).parameters:
        return None
    return typing.get_type_hints(function)["fitted"]


def recorded(folder: Path, name: str) -> Any:
    """What the run.yaml of a folder says about `name`; None if it says nothing."""
    import yaml

    path = folder / "run.yaml"
    if not path.is_file():
        return None
    return (yaml.safe_load(path.read_text(encoding="utf-8")).get("options") or {}).get(name)
