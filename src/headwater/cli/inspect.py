"""`headwater inspect FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from headwater.cli.options import parse
from headwater.cli.work import Switch, answer
from headwater.methods.catalogue import trained
from headwater.models.inspection import inspect
from headwater.models.schema import plain


@dataclass(frozen=True)
class Options:
    """Say what a checkpoint is, from its headers; nothing in it is run."""

    file: Annotated[str, tyro.conf.Positional]
    """A weights file, a folder of ours or of diffusers, what `headwater fit` left, or a shipped name."""
    json: Switch = False
    """Print it as JSON."""


def run(argv: Sequence[str]) -> int:
    """Describe a checkpoint."""
    options = parse(Options, argv, "headwater inspect")
    report = inspect(options.file, trained)
    return answer(options.json, str(report), plain(report))
