"""`headwater fit prior DATA` and `headwater fit METHOD`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from headwater.cli.files import OnError, Source, together
from headwater.cli.methods import PRIOR, inputs_of, kinds, options_of, verb_of, with_method
from headwater.cli.options import parse, take
from headwater.cli.record import open_output, write_record
from headwater.cli.work import Switch, Work, answer, usable
from headwater.errors import need
from headwater.methods.catalogue import entry
from headwater.priors import Prior
from headwater.train import Recipe, fit

_RESULTS = ("prior", "samples")
"""What a training leaves that a rerun must reproduce; checkpoints depend on the clock."""
_FIRST = os.environ.get("RANK", "0") == "0"
"""Of several processes under torchrun one keeps the folder and answers."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training any prior takes."""

    out: Path
    """Folder for checkpoints, log, samples and the prior."""
    resume: Switch = False
    """Go on from the newest checkpoint in OUT."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, mps ..."""
    json: Switch = False
    """Print the result as JSON, and no progress."""


@dataclass(frozen=True, kw_only=True)
class FitPrior(Training):
    """Train a prior on a folder of pictures, an .npz or a shipped set: OUT/prior is the result.

    usage: headwater fit prior DATA --out OUT [--recipe FILE] [OPTIONS]

    --recipe FILE starts from a recipe of recipes/priors; options given beside it replace its values.
    """

    max_minutes: float | None = None
    """Stop after this time with a checkpoint; --resume goes on."""
    on_error: OnError = "stop"
    """What a corrupt picture does: stop, or be skipped and listed in OUT/skipped.json."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")]


def run(argv: Sequence[str]) -> int:
    """Train a prior or what a method trains."""
    name, words = argv[0], list(argv[1:])
    if name == "prior":
        return _prior(words)
    method = entry(name).load()
    need(hasattr(method, "fit"), f"{name} trains nothing: `headwater apply {name}` needs a prior only")
    function = verb_of(method, "fit")
    if "recipe" in inspect.signature(function).parameters:
        return _own_prior(name, method, words)
    fields: dict[str, tuple[Any, str]] = {"prior": (str, PRIOR), **inputs_of(function)}
    kind = with_method(options_of("fit", name, Work, fields), method)
    options: Any = parse(kind, words, f"headwater fit {name}")
    run = options.run()
    prior = Prior.from_pretrained(options.prior).to(options.device)
    sources = {k: Source(k, v, getattr(options, k), prior.shape) for k, v in kinds(function).items()}
    given = together(sources, not options.json)
    out = open_output(options.out, options.overwrite, ["fitted"])
    write_record(out, "fit", name, options, {"prior_hash": prior.hash}, None)
    options.method.fit(prior, **given, run=run).save(out / "fitted")
    write_record(out, "fit", name, options, {"prior_hash": prior.hash}, ["fitted"])
    count = len(next(iter(given.values())))
    values = {"out": str(out), "items": count}
    return answer(options.json, f"fitted on {count} pictures: {out}", values)


def _prior(words: list[str]) -> int:
    words, recipe = take(words, "--recipe")
    if words and not words[0].startswith("-"):
        words = ["--data", *words]
    # tyro's stand-in for "not given": the recipe has no output folder.
    start = None if recipe is None else FitPrior(recipe=Recipe.load(recipe), out=tyro.MISSING)
    options = parse(FitPrior, words, "headwater fit prior", start)
    usable(options.device)
    _open(options)
    fit(
        options.recipe,
        options.out,
        resume=options.resume,
        max_minutes=options.max_minutes,
        device=options.device,
        progress=not options.json,
        on_error=options.on_error,
    )
    return _trained("prior", options)


def _own_prior(name: str, method: Any, words: list[str]) -> int:
    """Methods that train a prior of their own kind, as their `recipe` argument says: AnoDDPM."""
    fields: dict[str, tuple[Any, str]] = {
        "data": (str, "a folder of pictures, an .npz or a shipped set"),
        "recipe": (
            Path | None,
            "a recipe like those of recipes/priors; by default the method's own small one",
        ),
    }
    kind = options_of("fit", name, Training, fields, {"recipe": None})
    options: Any = parse(kind, words, f"headwater fit {name}")
    usable(options.device)
    recipe = None if options.recipe is None else Recipe.load(options.recipe, data=options.data)
    _open(options)
    more = {"resume": options.resume, "device": options.device, "progress": not options.json}
    method().fit(options.data, options.out, recipe, **more)
    return _trained(name, options)


def _open(options: Any) -> None:
    """A training goes on in its own folder, and otherwise wants an empty one."""
    if _FIRST and not options.resume:
        open_output(options.out, False, [])


def _trained(name: str, options: Any) -> int:
    if not _FIRST:
        return 0
    folder = options.out / "prior"
    values = {"out": str(options.out), "finished": folder.is_dir()}
    if not folder.is_dir():
        sentence = f"stopped before the end: repeat the command with --resume to go on in {options.out}"
        return answer(options.json, sentence, values)
    prior = Prior.from_pretrained(folder)
    write_record(options.out, "fit", name, options, {"prior_hash": prior.hash}, _RESULTS)
    return answer(options.json, f"trained: {folder}", {**values, "prior": str(folder)})
