"""`headwater apply METHOD`: a method on the user's own files, written as it goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwater.atomic import write_file
from headwater.cli.files import OnError, open_all
from headwater.cli.kinds import FAMILIES
from headwater.cli.methods import (
    PRIOR,
    answers,
    applied,
    fitted_class,
    inputs_of,
    kinds,
    options_of,
    reading_of,
    recorded_method,
    results,
    shape_of,
    spare,
    takes,
    verb_of,
    with_method,
)
from headwater.cli.options import parse
from headwater.cli.parts import FOLDER, Parts, sweep_files
from headwater.cli.record import open_output, read_record, write_record
from headwater.cli.resume import same_run
from headwater.cli.showing import show
from headwater.cli.volumes import write_volumes
from headwater.cli.walk import Walk
from headwater.cli.work import Resumed, answer, as_json, usable
from headwater.data.reading import UNSAID
from headwater.errors import UserError, need
from headwater.gallery import run_folder
from headwater.methods.catalogue import entry
from headwater.models import Prior
from headwater.report import Page
from headwater.training.processes import Processes, processes

_SKIPPED, _PAGE = "skipped.json", "index.html"


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
    fields |= answers(function)
    free |= vars(UNSAID)
    fields["on_error"] = (OnError, "What a corrupt input does: stop, or be skipped and listed.")
    kind = options_of("apply", name, Resumed, fields, free)
    options = parse(kind if fitted else with_method(kind, method), argv[1:], f"headwater apply {name}")
    return _apply(name, argv, options, method, fitted)


def _apply(name: str, argv: Sequence[str], options: Any, method: Any, fitted: Any) -> int:
    usable(options.device)
    with processes(options.device) as team:
        walk, about = _prepared(name, options, method, fitted, team)
        files = [FAMILIES[v.name].results(k) for k, v in walk.outputs.items()]
        if team.first:
            _open(name, options, about, [*files, _SKIPPED, _PAGE])
        team.wait()
        out: Path = options.out
        batches = Parts(out).left(len(walk.first), options.batch)
        if "outputs" in read_record(out):  # this run is finished, and was repeated
            batches = []
        page = None if not team.first or (out / _PAGE).is_file() else lambda: _page(name, argv, walk, out)
        try:
            walk.over(batches[team.index :: team.count], out, page)
            team.wait()
        finally:  # what was finished is of use, whatever happened
            if team.first:
                Parts(out).join({k: FAMILIES[v.name].table(k) for k, v in walk.outputs.items()})
        return _finish(name, options, walk, about, files) if team.first else 0


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
    if takes(function, "prior"):
        if where is None:
            raise UserError(f"{options.fitted} does not say which prior it was fitted on: add --prior")
        given["prior"] = Prior.from_pretrained(str(where)).to(device)
        about["prior_hash"] = given["prior"].hash
    wanted = kinds(function)
    shape = shape_of(given.get("prior"), given.get("fitted"), chosen)
    sources = open_all(wanted, {k: getattr(options, k) for k in wanted}, shape, reading=reading_of(options))
    about["inputs"] = {key: source.mark for key, source in sources.items()}
    return Walk(chosen, sources, given, results(method), work, options.on_error), about


def _open(name: str, options: Any, about: dict[str, Any], files: Sequence[str]) -> None:
    """The output folder: new, or of the same run, which was stopped."""
    out, record = options.out, read_record(options.out) if options.out.is_dir() else {}
    if options.resume:
        same_run(out, "apply", name, options, ("out", "device", "batch", "on_error"))
        other = next((key for key in about if record and record.get(key) != about[key]), None)
        need(
            other is None,
            f"{out} was begun with other files or another prior ({other}): bring them back, or choose "
            "another --out",
        )
        for key in files:
            sweep_files(out / key)
    else:
        # Stopped before its first batch was noted, a run leaves results without notes; a record alone is in
        # nobody's way.
        left = out.is_dir() and any((out / name).exists() for name in (*files, FOLDER))
        begun = bool(record) and "outputs" not in record and left
        need(
            options.overwrite or not begun,
            f"{out} holds an unfinished run: add --resume to go on, or --overwrite",
        )
        open_output(out, options.overwrite, [*files, FOLDER])
    if "outputs" not in record or not options.resume:
        write_record(out, "apply", name, options, about, None)


def _finish(name: str, options: Any, walk: Walk, about: dict[str, Any], files: list[str]) -> int:
    """Put the tables together, write the record, say what was done."""
    out, parts, first = options.out, Parts(options.out), walk.first
    skipped = (read_record(out).get("skipped") or {}) | parts.skipped()
    done = len(first) - len(skipped)
    if not done:
        parts.remove()
        raise UserError(
            f"none of the {first.count(len(skipped))} can be read: {next(iter(skipped.values()))}"
        )
    if parts.folder.is_dir():
        if first.grid is not None:
            write_volumes(out, walk.outputs, first.names, first.grid)
        if skipped:
            write_file(out / _SKIPPED, as_json(skipped))
        write_record(out, "apply", name, options, {**about, "skipped": skipped}, files)
        parts.remove()
    values = {"out": str(out), "items": done, "skipped": skipped}
    left = f", {len(skipped)} skipped (see {out / _SKIPPED})" if skipped else ""
    return answer(options.json, f"{first.count(done)} done{left}: open {out / _PAGE}", values)


def _page(name: str, argv: Sequence[str], walk: Walk, out: Path) -> None:
    every = {**{k: s.family for k, s in walk.sources.items()}}
    every |= {k: FAMILIES[kind.name] for k, kind in walk.outputs.items()}
    page = Page(name, walk.first.count(len(walk.first)), "headwater apply")
    lead = f"Some of the {walk.first.family.noun[1]}; all are in the folder."
    show(page.section("Results", lead), every, walk.shown)
    page.provenance(["headwater", "apply", *argv], [walk.run.seed])
    page.write(out / _PAGE)
