"""`headwater apply METHOD`: a method on the user's own files, written as it goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwater.atomic import sweep, write_file
from headwater.cli.files import OnError, open_all
from headwater.cli.methods import (
    PRIOR,
    answers,
    applied,
    classes_of,
    fitted_class,
    inputs_of,
    kinds,
    may_lack,
    options_of,
    reading_of,
    recorded_method,
    results,
    shape_of,
    size_of,
    spare,
    takes,
    verb_of,
    with_method,
)
from headwater.cli.options import parse
from headwater.cli.output import apart, check_names, check_unchanged, need_nothing_else, open_output
from headwater.cli.parts import FOLDER, Parts
from headwater.cli.record import PAGE, hashes, is_compared, read_record, write_record
from headwater.cli.resume import same_run
from headwater.cli.showing import show
from headwater.cli.sizes import SIZE, for_size
from headwater.cli.volumes import volumes_of, write_volumes
from headwater.cli.walk import Walk
from headwater.cli.work import Resumed, answer, as_json, usable
from headwater.data.reading import UNSAID
from headwater.errors import UserError, need
from headwater.gallery import run_folder
from headwater.locks import locked
from headwater.methods.catalogue import entry
from headwater.models import Prior
from headwater.report import Page
from headwater.training.processes import Processes, processes

_SKIPPED = "skipped.json"


def run(argv: Sequence[str]) -> int:
    """Apply a method and write its outputs: OUT/<output>/<item>, run.yaml and a page."""
    name, method = argv[0], entry(argv[0]).load()
    function = verb_of(method, "apply")
    fitted = fitted_class(function)
    fields: dict[str, tuple[Any, str]] = dict(inputs_of(function))
    free: dict[str, Any] = {**spare(function), "on_error": "stop"}
    if fitted:
        fields["fitted"] = (
            Path,
            f"Folder that `headwater fit {name}` wrote, or what ships; its settings hold.",
        )
        fields |= applied(method)
        free |= dict.fromkeys(method.applied)
    if takes(function, "prior"):
        fitted_too = fitted and takes(verb_of(method, "fit"), "prior")
        hint = f"{PRIOR[:-1]}; by default the one that was fitted with." if fitted_too else PRIOR
        fields["prior"] = (str | None if fitted_too else str, hint)
        free |= {"prior": None} if fitted_too else {}
        if not fitted:  # what was fitted knows its own size
            fields["size"], free["size"] = (str | None, SIZE), None
    fields |= answers(function)
    free |= vars(UNSAID)
    fields["on_error"] = (OnError, "What a corrupt input does: stop, or be skipped and listed.")
    kind = options_of("apply", name, Resumed, fields, free)
    options = parse(kind if fitted else with_method(kind, method), argv[1:], f"headwater apply {name}")
    return _apply(name, argv, options, method, fitted)


def _apply(name: str, argv: Sequence[str], options: Any, method: Any, fitted: Any) -> int:
    usable(options.device)
    out: Path = options.out
    given = {f"--{key}": getattr(options, key) for key in kinds(verb_of(method, "apply"))}
    models = {f"--{key}": getattr(options, key, None) for key in ("prior", "fitted")}
    apart(out, {**given, **models}, models)
    with processes(options.device) as team, locked(out if team.first else None):
        walk, about = _prepared(name, options, method, fitted, team)
        if team.first:
            _open(name, options, about, walk)
        team.wait()
        if "outputs" in read_record(out):  # this run is finished, and was repeated
            return _answer(options, walk, read_record(out).get("skipped") or {}) if team.first else 0
        batches = Parts(out).left(len(walk.first), options.batch)
        page = None if not team.first or (out / PAGE).is_file() else lambda: _page(name, argv, walk, out)
        try:
            walk.over(batches[team.index :: team.count], out, page)
            team.wait()
        finally:  # what was finished is of use, whatever happened
            if team.first:
                Parts(out).join(walk.tables)
        return _finish(name, options, walk, about) if team.first else 0


def _prepared(
    name: str, options: Any, method: Any, fitted: Any, team: Processes
) -> tuple[Walk, dict[str, Any]]:
    """Everything that is needed before the first batch, and what the record says of it."""
    function, given, about = verb_of(method, "apply"), dict[str, Any](), dict[str, Any]()
    device = str(team.device)
    work = dataclasses.replace(options.run(), device=device, progress=team.first and not options.json)
    chosen, where = getattr(options, "method", None), getattr(options, "prior", None)
    if fitted:
        folder = run_folder(options.fitted)
        need(folder.is_dir(), f"--fitted: {folder} is no folder: `headwater fit {name}` writes one")
        record = read_record(folder)
        chosen = recorded_method(method, record, {key: getattr(options, key) for key in method.applied})
        where = where or (record.get("options") or {}).get("prior")
        given["fitted"] = fitted.from_pretrained(folder, device=device)
        about["fitted_hash"] = given["fitted"].hash
    if takes(function, "prior"):
        if where is None and not may_lack(function, "prior"):
            raise UserError(f"{options.fitted} does not say which prior it was fitted on: add --prior")
        prior = None if where is None else Prior.from_pretrained(str(where)).to(device)
        given["prior"], about["prior_hash"] = prior, None if prior is None else prior.hash
        if prior is not None and not fitted:
            pictures = {k: (v, getattr(options, k)) for k, v in kinds(function).items() if v.name == "images"}
            given["prior"] = for_size(prior, options.size, pictures, reading_of(options))
    wanted = kinds(function)
    shape = shape_of(given.get("prior"), given.get("fitted"), chosen)
    files, fitted_to = {k: getattr(options, k) for k in wanted}, given.get("fitted")
    size, known = size_of(chosen), classes_of(fitted_to)
    sources = open_all(wanted, files, shape, reading=reading_of(options), size=size, classes=known)
    about["inputs"] = {key: source.mark for key, source in sources.items()}
    return Walk(chosen, sources, given, results(method), work, options.on_error), about


def _open(name: str, options: Any, about: dict[str, Any], walk: Walk) -> None:
    """The output folder: new, or of the same run, which was stopped."""
    out, first = options.out, walk.first
    families = walk.families
    shared = [file for file, _ in walk.tables.values()]
    if first.grid is not None:
        shared += volumes_of(walk.outputs, first.grid)
    made = {n: [f for k, family in families.items() for f in family.files(k, n)] for n in first.names}
    files = check_names(made, [*shared, _SKIPPED, PAGE], out)
    record = read_record(out)
    if options.resume and record:
        _check_same(name, options, about)
        for key in {str(Path(file).parent) for file in files}:
            sweep(out / key)
        if "outputs" in record:
            check_unchanged(out, record["outputs"])
            Parts(out).remove()  # it was stopped while it did so
            return
        Parts(out).check()
    else:
        if options.resume:
            need_nothing_else(out)
        # Stopped before its first batch was noted, a run leaves results without notes; a record alone is in
        # nobody's way.
        left = any((out / file).exists() for file in (*files, FOLDER))
        begun = bool(record) and "outputs" not in record and left
        need(
            options.overwrite or not begun,
            f"{out} holds an unfinished run: add --resume to go on, or --overwrite",
        )
        open_output(out, "apply", name, files, options.overwrite)
    write_record(out, "apply", name, options, about, None)
    walk.planned = files


def _check_same(name: str, options: Any, about: dict[str, Any]) -> None:
    """UserError if the run in OUT had other options, another model or other inputs."""
    record = same_run(options.out, "apply", name, options, ("out", "device", "batch", "on_error"))
    other = next((key for key in about if record.get(key) != about[key]), None)
    named = {"prior_hash": "another prior", "fitted_hash": "another fitted network"}
    what = named.get(str(other), "other files")
    need(other is None, f"{options.out} was begun with {what}: bring it back, or choose another --out")


def _finish(name: str, options: Any, walk: Walk, about: dict[str, Any]) -> int:
    """Put volumes together, write the record, say what was done.

    Each step may be the last: before the record is whole, all of them are done again; after it, the notes are
    in nobody's way.
    """
    out, parts, first = options.out, Parts(options.out), walk.first
    skipped = parts.skipped()
    if len(skipped) == len(first):
        parts.remove()
        raise UserError(
            f"none of the {first.count(len(skipped))} can be read: {next(iter(skipped.values()))}"
        )
    tables = [file for file, _ in walk.tables.values()]
    volumes = [] if first.grid is None else write_volumes(out, walk.outputs, first.names, first.grid)
    if skipped:
        write_file(out / _SKIPPED, as_json(skipped))
    made = {name: value for name, value in parts.files().items() if is_compared(name)}
    made |= hashes(out, [*tables, *volumes])
    about = {**about, "skipped": skipped, "read": parts.read()}
    write_record(out, "apply", name, options, about, dict(sorted(made.items())), [PAGE, _SKIPPED])
    parts.remove()
    return _answer(options, walk, skipped)


def _answer(options: Any, walk: Walk, skipped: dict[str, str]) -> int:
    """Say what was done."""
    out, done = options.out, len(walk.first) - len(skipped)
    values = {"out": str(out), "items": done, "skipped": skipped}
    left = f", {len(skipped)} skipped (see {out / _SKIPPED})" if skipped else ""
    return answer(options.json, f"{walk.first.count(done)} done{left}: open {out / PAGE}", values)


def _page(name: str, argv: Sequence[str], walk: Walk, out: Path) -> None:
    every = {k: s.family for k, s in walk.sources.items() if s.family.looks}
    every |= walk.families
    page = Page(name, walk.first.count(len(walk.first)), "headwater apply")
    lead = f"Some of the {walk.first.family.noun[1]}; all are in the folder."
    show(page.section("Results", lead), every, walk.shown)
    page.provenance(["headwater", "apply", *argv], [walk.run.seed])
    page.write(out / PAGE)
