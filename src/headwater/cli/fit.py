"""`headwater fit prior DATA` and `headwater fit METHOD`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from headwater.cli.files import OnError, open_all, together
from headwater.cli.methods import (
    PRIOR,
    answers,
    inputs_of,
    kinds,
    may_lack,
    options_of,
    reading_of,
    shape_of,
    size_of,
    spare,
    takes,
    verb_of,
    with_method,
)
from headwater.cli.options import fill, parse, read_options, take
from headwater.cli.output import CHECKPOINTS, FITTED, apart, need_nothing_else, open_output
from headwater.cli.record import PAGE, read_record, write_record
from headwater.cli.resume import same_run
from headwater.cli.work import Resumed, Switch, Work, answer, usable
from headwater.data.reading import UNSAID
from headwater.digest import digest
from headwater.errors import need
from headwater.locks import locked
from headwater.methods.catalogue import METHODS, entry, recipe_file
from headwater.models import Prior
from headwater.sampling import best_device
from headwater.training import RECIPES, OutOfTime, Recipe, TrainerConfig, fit
from headwater.training.page import write_curves
from headwater.training.processes import Processes, processes
from headwater.training.recipe import PRIOR_TRAINING

_RESULTS = ("prior", "samples")
"""What a training leaves that a rerun must reproduce; checkpoints depend on the clock."""


@dataclass(frozen=True)
class FlatRecipe(Recipe):
    """A recipe whose training is spelt without a prefix: --steps, --lr."""

    training: Annotated[TrainerConfig, tyro.conf.arg(name="")] = PRIOR_TRAINING
    """How it is trained."""


@dataclass(frozen=True, kw_only=True)
class FitPrior:
    """Train a prior on a folder of pictures, an .npz or a shipped set: OUT/prior is the result.

    usage: headwater fit prior DATA --out OUT [--recipe NAME|FILE] [OPTIONS]

    --recipe NAME starts from the recipe of a shipped prior, of a method that wants a prior of its own kind
    (anoddpm, anoddpm/paper), or from a file like them; options given beside it replace its values.
    """

    out: Path
    """Folder for checkpoints, log, samples and the prior."""
    resume: Switch = False
    """Go on from the newest checkpoint in OUT."""
    device: str = field(default_factory=best_device)
    """Device to work on: cpu, cuda, cuda:1, mps and so on; the best there is by default."""
    json: Switch = False
    """Print the result as JSON, and no progress."""
    max_minutes: float | None = None
    """Stop after this time with a checkpoint; --resume goes on."""
    on_error: OnError = "stop"
    """What a corrupt picture does: stop, or be skipped and listed in OUT/skipped.json."""
    recipe: Annotated[FlatRecipe, tyro.conf.arg(name="")]


def run(argv: Sequence[str]) -> int:
    """Train a prior or what a method trains."""
    name, words = argv[0], list(argv[1:])
    if name == "prior":
        return _prior(words)
    method = entry(name).load()
    need(hasattr(method, "fit"), f"{name} trains nothing: `headwater apply {name}` needs a prior only")
    function = verb_of(method, "fit")
    options = _options(name, method, words)
    given = {f"--{key}": getattr(options, key) for key in kinds(function)}
    models = {"--prior": getattr(options, "prior", None)}
    apart(options.out, {**given, **models}, models)
    with processes(usable(options.device)) as team, locked(options.out if team.first else None):
        return _fit(name, function, options, team)


def _fit(name: str, function: Any, options: Any, team: Processes) -> int:
    device, prior, about = str(team.device), None, dict[str, Any]()
    run = dataclasses.replace(options.run(), device=device, progress=team.first and not options.json)
    if takes(function, "prior") and options.prior is not None:
        prior = Prior.from_pretrained(options.prior).to(device)
        about["prior_hash"] = prior.hash
    wanted = kinds(function)
    where = {key: getattr(options, key) for key in wanted}
    shape, size = shape_of(prior, options.method), size_of(options.method)
    sources = open_all(wanted, where, shape, reading=reading_of(options), size=size)
    out = options.out
    if team.first:
        _opened(name, options)
    given = together(sources, run.progress)
    about["inputs"] = {key: {"content": digest(value)} for key, value in given.values.items()}
    if team.first:
        _check_begun(out, about)
        write_record(out, "fit", name, options, about, None)
    team.wait()
    run = dataclasses.replace(run, checkpoint_dir=out / CHECKPOINTS)
    made = options.method.fit(**({"prior": prior} if takes(function, "prior") else {}), **given.values, **run)
    team.wait()
    if not team.first:
        return 0
    made.save_pretrained(out / FITTED)
    write_curves(out, f"A fitted {name}", options.method)
    write_record(out, "fit", name, options, about, [FITTED])
    first, done = next(iter(sources.values())), given.items
    on = first.count(done)
    if done != len(first):
        on = f"{done} of {first.count(len(first))}, since the others have no partner"
    if given.pairs != done:
        on = f"{given.pairs} pairs of {on}"
    values = {"out": str(out), "items": done, "pairs": given.pairs}
    return answer(options.json, f"fitted on {on}: {out}", values)


def _options(name: str, method: Any, words: list[str]) -> Any:
    """The options of `fit METHOD`; --recipe FILE gives those of the method, words beside it override them."""
    function, prog = verb_of(method, "fit"), f"headwater fit {name}"
    words, recipe = take(words, "--recipe")
    fields: dict[str, tuple[Any, str]] = {"prior": (str, PRIOR)} if takes(function, "prior") else {}
    fields |= inputs_of(function) | answers(function)
    free = {**spare(function), **vars(UNSAID)}
    if may_lack(function, "prior"):
        fields["prior"] = (str | None, f"{PRIOR[:-1]}; none beside features of your own.")
        free["prior"] = None
    kind = options_of("fit", name, Resumed if _goes_on(method) else Work, fields, free)
    kind = with_method(kind, method)
    taken = "--recipe NAME|FILE takes hyper-parameters from a recipe of the method or from a file like it."
    kind.__doc__ = f"{kind.__doc__}\n\n{taken}"
    start = None
    if recipe is not None:
        path = entry(name).recipe(recipe)
        start = dataclasses.replace(fill(kind, {}, prog), method=fill(method, read_options(path), path.name))
    return parse(kind, words, prog, start)


def _goes_on(method: Any) -> bool:
    """Whether a method's training keeps checkpoints: it then says how it trains in a field `training`."""
    return any(field.name == "training" for field in dataclasses.fields(method))


def _opened(name: str, options: Any) -> None:
    """The output folder: new, or of an unfinished fit with the same options."""
    if not getattr(options, "resume", False):
        begun = not options.overwrite and (options.out / CHECKPOINTS).is_dir()
        done = (options.out / FITTED).exists()
        need(
            done or not begun, f"{options.out} holds an unfinished fit: add --resume to go on, or --overwrite"
        )
        open_output(options.out, "fit", name, [FITTED, CHECKPOINTS, PAGE], options.overwrite)
    elif not same_run(options.out, "fit", name, options, ("out", "device")):
        need_nothing_else(options.out)


def _check_begun(out: Path, about: dict[str, Any]) -> None:
    """UserError if the fit in OUT was begun with another prior or other contents of an input."""
    record = read_record(out)
    if not record:
        return
    same = record.get("prior_hash") == about.get("prior_hash")
    need(same, f"{out} was begun with another prior: bring it back, or choose another --out")
    before = record.get("inputs") or {}
    other = next((key for key, value in about["inputs"].items() if before.get(key) != value), None)
    need(
        other is None,
        f"{out} was begun with other contents of --{other}: bring them back, or choose another --out",
    )


def _prior(words: list[str]) -> int:
    words, recipe = take(words, "--recipe")
    if words and not words[0].startswith("-"):
        words = ["--data", *words]
    # tyro's stand-in for "not given": the recipe has no output folder.
    start = None
    if recipe is not None:
        start = FitPrior(recipe=FlatRecipe.load(_recipe_file(recipe)), out=tyro.MISSING)
    options = parse(FitPrior, words, "headwater fit prior", start)
    apart(options.out, {"--recipe": recipe, "DATA": options.recipe.data})
    with processes(usable(options.device)) as team, locked(options.out if team.first else None):
        if team.first and not options.resume:
            open_output(options.out, "fit", "prior", [], False)
        elif team.first and not (options.out / CHECKPOINTS).is_dir():
            need_nothing_else(options.out)
        team.wait()
        try:
            fit(
                options.recipe,
                options.out,
                resume=options.resume,
                max_minutes=options.max_minutes,
                device=options.device,
                progress=not options.json,
                on_error=options.on_error,
            )
        except OutOfTime:
            sentence = f"stopped before the end: repeat the command with --resume to go on in {options.out}"
            values = {"out": str(options.out), "finished": False}
            return answer(options.json, sentence, values) if team.first else 0
        if not team.first:
            return 0
        folder = options.out / "prior"
        about = {"prior_hash": Prior.from_pretrained(folder).hash}
        write_record(options.out, "fit", "prior", options, about, _RESULTS)
        values = {"out": str(options.out), "finished": True, "prior": str(folder)}
        return answer(options.json, f"trained: {folder}", values)


def _recipe_file(given: str) -> Path:
    """The recipe of a shipped prior, of a method's own kind of prior, or the file `given`."""
    method, _, name = given.partition("/")
    if method in METHODS and (folder := entry(method).folder / "recipes" / "prior").is_dir():
        return recipe_file(folder, name or "small")
    return recipe_file(RECIPES, given)
