"""Networks that answer are in evaluation mode, whichever mode their owner left them in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from torch import nn

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def evaluating(*owners: Any) -> Iterator[None]:
    """While it lasts, modules and those that objects hold are in evaluation mode; then each part as before.

    Dropout would draw what no seed decides, and batch norm would make a picture's answer depend on the
    others and change the network.
    """
    training = [part for owner in owners for held in _held(owner) for part in held.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def in_evaluation(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, during which networks are in evaluation mode: modules among its arguments, and what
    those of them hold that have a `network`."""

    @functools.wraps(function)
    def evaluated(*given: P.args, **named: P.kwargs) -> R:
        held = (v for v in (*given, *named.values()) if isinstance(v, nn.Module) or hasattr(v, "network"))
        with evaluating(*held):
            return function(*given, **named)

    return evaluated


def _held(owner: Any) -> Iterator[nn.Module]:
    """The modules of an object: it itself, or what its fields and theirs hold."""
    if isinstance(owner, nn.Module):
        yield owner
    elif dataclasses.is_dataclass(owner) or hasattr(owner, "__dict__"):
        for value in getattr(owner, "__dict__", {}).values():
            if isinstance(value, nn.Module):
                yield value
            elif dataclasses.is_dataclass(value):
                yield from _held(value)
