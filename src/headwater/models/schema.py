"""JSON to dataclasses by their annotations: a closed set of fields, each checked; nothing is executed."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union

import numpy as np

from headwater.errors import UserError, need, shown

C = TypeVar("C")


def nearest(name: str, known: Iterable[str]) -> str:
    """`: did you mean 'x'?` when one of the known names is close, else the names to choose from."""
    names = [str(n) for n in known]
    near = difflib.get_close_matches(name, names, 1, cutoff=0.55)
    return f": did you mean {near[0]!r}?" if near else f": choose one of {', '.join(sorted(names))}"


def build(cls: type[C], values: Mapping[str, Any], where: str) -> C:
    """An instance of dataclass `cls` from JSON values. `where` opens the error message.

    Raises UserError for an unknown or missing field, a wrong type, or values that the class refuses.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # pyright: ignore[reportArgumentType]
    for name in values:
        if name not in fields:
            raise UserError(f"{where}: unknown field {shown(name)}{nearest(str(name)[:100], fields)}")
    for name, field in fields.items():
        free = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        need(name in values or not free, f"{where}: the field {name!r} is missing; write it")
    given = {name: fit(value, hints[name], f"{where}: {name}") for name, value in values.items()}
    try:
        return cls(**given)
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise UserError(f"{where}: {error}") from None


def plain(value: Any) -> Any:
    """The JSON values of a config, of which `build` makes it again."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def fit(value: Any, hint: Any, where: str) -> Any:
    """The value as the annotation wants it: lists become tuples or arrays, objects become dataclasses, texts
    become what a class with `from_json` makes of them."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "from_json"):
        need(isinstance(value, str), f"{where} must be a text")
        return hint.from_json(value)
    if origin is np.ndarray:
        return np.array(_tuple(value, (float, ...), where), float)
    if hint is Any:
        return value
    if origin is Literal:
        need(
            isinstance(value, str | int) and value in inner,
            f"{where} is {shown(value)}: choose one of {', '.join(map(repr, inner))}",
        )
        return value
    if origin in (Union, types.UnionType):
        return _first(value, inner, where)
    if origin is tuple:
        return _tuple(value, inner, where)
    if origin is dict:
        need(isinstance(value, dict), f"{where} must be an object of names and values")
        return dict(value)
    if dataclasses.is_dataclass(hint):
        need(isinstance(value, dict), f"{where} must be an object of names and values")
        return build(hint, value, where)  # pyright: ignore[reportArgumentType]
    kinds = (int, float) if hint is float else (hint,)
    right = isinstance(value, kinds) and (hint is bool or not isinstance(value, bool))
    need(right, f"{where} is {shown(value)}: give a value of type {getattr(hint, '__name__', hint)}")
    try:
        return hint(value)
    except OverflowError:  # a whole number that no float is as large as
        raise UserError(f"{where} is {shown(value)}: give a number below 1e308") from None


def _first(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    error = UserError(f"{where} has no value")
    objects = [hint for hint in hints if dataclasses.is_dataclass(hint)]
    if isinstance(value, dict) and len(objects) > 1:  # what is wrong is said of the one that is meant
        hints = (
            min(objects, key=lambda hint: len(value.keys() ^ {f.name for f in dataclasses.fields(hint)})),
        )
    for hint in hints:
        if hint is not type(None):
            try:
                return fit(value, hint, where)
            except UserError as refused:
                error = refused
    raise error


def _tuple(value: Any, inner: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    need(isinstance(value, list | tuple), f"{where} is {shown(value)}: give a list")
    if inner[-1] is Ellipsis:
        return tuple(fit(v, inner[0], where) for v in value)
    need(len(value) == len(inner), f"{where} has {len(value)} entries: give {len(inner)}")
    return tuple(fit(v, hint, where) for v, hint in zip(value, inner, strict=True))
