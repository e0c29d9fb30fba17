"""`headwater fit prior DATA` and `headwater fit METHOD`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from headwater.cli.files import Source, kinds
from headwater.cli.methods import chosen, options_of
from headwater.cli.options import parse, take
from headwater.cli.record import open_output, write_record
from headwater.cli.work import answer
from headwater.errors import need
from headwater.priors import Prior
from headwater.train import Recipe, fit


@dataclass(frozen=True, kw_only=True)
class FitPrior:
    """Train a prior on a folder of pictures, an .npz or a shipped set: OUT/prior is the result.

    `--recipe FILE` starts from a recipe of recipes/priors; options given beside it replace its values.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    out: Path
    """Folder for checkpoints, log, samples, page and the prior."""
    resume: bool = False
    """Go on from the newest checkpoint in OUT."""
    max_minutes: float | None = None
    """Stop after this time with a checkpoint; resume goes on."""
    device: str = "cpu"
    """cpu, cuda, mps ..."""
    json: bool = False
    """Print the result as JSON."""


def run(argv: Sequence[str]) -> int:
    """Train a prior or what a method trains."""
    name, method, words = chosen(argv, "fit", also="prior")
    if method is None:
        return _prior(words)
    need(hasattr(method, "fit"), f"{name} trains nothing: `headwater apply {name}` needs a prior only")
    function: Any = getattr(method, "fit")  # noqa: B009 - each method declares its own arguments
    if "image" not in inspect.signature(function).parameters:
        return _own_prior(name, method, words)
    inputs = kinds(function)
    kind: Any = options_of(
        name, method, "fit", inputs, {"prior": (str, "shipped prior, folder, file or hub name")}
    )
    options: Any = parse(kind, words, f"headwater fit {name}")
    prior = Prior.from_pretrained(options.prior).to(options.device)
    sources = {k: Source(k, v, getattr(options, k), prior.shape, "stop") for k, v in inputs.items()}
    first = next(iter(sources.values()))
    rows = list(range(len(first)))
    given = {k: s.read(rows if s is first else s.beside(first.names)) for k, s in sources.items()}
    out = open_output(options.out, options.overwrite)
    fitted = options.method.fit(prior, **given, run=options.run())
    fitted.save(out / "fitted")
    write_record(out, "fit", name, options, {"prior_hash": prior.hash})
    values = {"out": str(out), "items": len(first)}
    return answer(options.json, f"fitted on {len(first)} pictures: {out}", values)


def _prior(words: list[str]) -> int:
    if words and not words[0].startswith("-"):
        words = ["--data", *words]
    words, recipe = take(words, "--recipe")
    # tyro's stand-in for "not given": the recipe has no output folder.
    start = None if recipe is None else FitPrior(recipe=Recipe.load(recipe), out=tyro.MISSING)
    options = parse(FitPrior, words, "headwater fit prior", start)
    fit(
        options.recipe,
        options.out,
        resume=options.resume,
        max_minutes=options.max_minutes,
        device=options.device,
        progress=not options.json,
    )
    folder = options.out / "prior"
    return answer(options.json, f"trained: {folder}", {"prior": str(folder)})


def _own_prior(name: str, method: Any, words: list[str]) -> int:
    """Methods whose fit trains a prior of their own kind from pictures: AnoDDPM."""
    kind = dataclasses.make_dataclass(
        f"Fit{method.__name__}",
        [
            ("method", Annotated[method, tyro.conf.arg(name="")], dataclasses.field(default_factory=method)),
            ("data", str),
            ("out", Path),
            ("resume", bool, False),
            ("json", bool, False),
        ],
        frozen=True,
        kw_only=True,
    )
    options: Any = parse(kind, words, f"headwater fit {name}")
    options.method.fit(options.data, options.out, resume=options.resume, progress=not options.json)
    return answer(options.json, f"trained: {options.out / 'prior'}", {"prior": str(options.out / "prior")})
