"""Options of a method's verbs, made from the method's own dataclass and the arguments of its functions."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import tyro

from headwater.cli.options import fill
from headwater.errors import UserError, need
from headwater.methods.base import Kind, Method
from headwater.methods.catalogue import METHODS

PRIOR = "a shipped prior, a folder, a guided-diffusion file or a hub name"


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a method's function; names that only type checkers import are supplied."""
    from headwater.train import Recipe

    return typing.get_type_hints(function, localns={"Recipe": Recipe}, include_extras=True)


def kinds(function: Callable[..., Any]) -> dict[str, Kind]:
    """The arguments of a method's function that come from files."""
    hints = hints_of(function)
    names = inspect.signature(function).parameters
    return {name: kind for name in names if (kind := _kind(hints.get(name))) is not None}


def results(method: type[Method]) -> dict[str, Kind]:
    """The outputs of a method's `apply` by name; a single one is called as `evaluate` calls it."""
    hint = hints_of(verb_of(method, "apply"))["return"]
    if (kind := _kind(hint)) is not None:
        return {next(iter(kinds(verb_of(method, "evaluate")))): kind}
    fields = typing.get_type_hints(hint, include_extras=True) if dataclasses.is_dataclass(hint) else {}
    return {name: kind for name, h in fields.items() if (kind := _kind(h)) is not None}


def verb_of(method: type[Method], verb: str) -> Callable[..., Any]:
    """A method's function of that name. UserError if it has none."""
    need(hasattr(method, verb), f"this method has no {verb}: `headwater list` shows the others")
    return getattr(method, verb)


def _kind(hint: Any) -> Kind | None:
    return next((m for m in typing.get_args(hint) if isinstance(m, Kind)), None)


def options_of(
    verb: str, name: str, base: type, fields: Mapping[str, tuple[Any, str]], defaults: Mapping[str, Any] = {}
) -> Any:
    """A dataclass of fields, name -> (type, help), before those of `base`; without a default, required."""
    specs = [
        (key, Annotated[hint, tyro.conf.arg(help=text)], dataclasses.field(default=defaults[key]))
        if key in defaults
        else (key, Annotated[hint, tyro.conf.arg(help=text)])
        for key, (hint, text) in fields.items()
    ]
    inputs = dataclasses.make_dataclass("Inputs", specs, frozen=True, kw_only=True)
    # Fields of later bases come first.
    made = dataclasses.make_dataclass(verb.title(), [], bases=(base, inputs), frozen=True, kw_only=True)
    made.__doc__ = f"{verb.capitalize()} {name}: {METHODS[name].summary}."
    made.__module__ = inputs.__module__ = __name__
    return made


def with_method(kind: Any, method: type[Method]) -> Any:
    """The same options with the method's own hyper-parameters after them."""
    fields = [
        ("method", Annotated[method, tyro.conf.arg(name="")], dataclasses.field(default_factory=method))
    ]
    made = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)
    made.__doc__, made.__module__ = kind.__doc__, __name__
    return made


def inputs_of(function: Callable[..., Any], optional: bool = False) -> dict[str, tuple[Any, str]]:
    """One path per argument that comes from files, with its help."""
    hint = str | None if optional else str
    return {key: (hint, help_of(key, kind)) for key, kind in kinds(function).items()}


def help_of(name: str, kind: Kind) -> str:
    """What to give for an argument."""
    return f"{kind.help}; white marks what is {name}" if kind.name == "mask" else kind.help


def fitted_class(function: Callable[..., Any]) -> Any:
    """What `fit` must have made before this function can run: the class of its `fitted` argument, or None."""
    return hints_of(function).get("fitted")


def recorded_method(method: type[Method], record: Mapping[str, Any]) -> Method:
    """The method with the hyper-parameters of a record; with the paper's where the record has none."""
    values = (record.get("options") or {}).get("method") or {}
    try:
        return fill(method, values, "run.yaml")
    except UserError:
        return method()
