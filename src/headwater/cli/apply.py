"""`headwater apply METHOD`: a method on the user's own files, written as it goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from headwater.atomic import write_file
from headwater.cli.files import OnError, Source, open_all
from headwater.cli.kinds import FAMILIES
from headwater.cli.methods import (
    PRIOR,
    applied,
    fitted_class,
    inputs_of,
    kinds,
    options_of,
    recorded_method,
    results,
    shape_of,
    spare,
    taken_apart,
    takes,
    verb_of,
    with_method,
)
from headwater.cli.options import parse
from headwater.cli.record import open_output, read_record, write_record
from headwater.cli.showing import show
from headwater.cli.work import Work, answer, as_json
from headwater.errors import UserError, need
from headwater.methods.base import Kind
from headwater.methods.catalogue import entry
from headwater.methods.shipped import run_folder
from headwater.priors import Prior
from headwater.report import Page

_SKIPPED = "skipped.json"
_SHOWN = 12
"""Items on the page."""


def run(argv: Sequence[str]) -> int:
    """Apply a method and write its outputs: OUT/<output>/<item>, run.yaml and a page."""
    name, method = argv[0], entry(argv[0]).load()
    function = verb_of(method, "apply")
    fitted = fitted_class(function)
    fields: dict[str, tuple[Any, str]] = dict(inputs_of(function))
    free: dict[str, Any] = {**spare(function), "on_error": "stop"}
    if fitted:
        fields["fitted"] = (Path, f"folder that `headwater fit {name}` wrote; its settings hold")
        fields |= applied(method)
        free |= dict.fromkeys(method.applied)
    if takes(function, "prior"):
        fitted_too = fitted and takes(verb_of(method, "fit"), "prior")
        hint = f"{PRIOR}; by default the one that was fitted" if fitted_too else PRIOR
        fields["prior"] = (str | None if fitted_too else str, hint)
        free |= {"prior": None} if fitted_too else {}
    fields["on_error"] = (OnError, "what a corrupt input does: stop, or be skipped and listed")
    kind = options_of("apply", name, Work, fields, free)
    options = parse(kind if fitted else with_method(kind, method), argv[1:], f"headwater apply {name}")
    return _apply(name, argv, options, method, fitted)


def _apply(name: str, argv: Sequence[str], options: Any, method: Any, fitted: Any) -> int:
    function, given, about = verb_of(method, "apply"), dict[str, Any](), dict[str, Any]()
    first_run = options.run()
    chosen, where = getattr(options, "method", None), getattr(options, "prior", None)
    if fitted:
        folder = run_folder(options.fitted)
        need(folder.is_dir(), f"--fitted: {folder} is no folder: `headwater fit {name}` writes one")
        record = read_record(folder)
        chosen = recorded_method(method, record, {key: getattr(options, key) for key in method.applied})
        where = where or (record.get("options") or {}).get("prior")
        given["fitted"] = fitted.load(folder / "fitted", options.device)
    if takes(function, "prior"):
        if where is None:
            raise UserError(f"{options.fitted} does not say which prior it was fitted on: add --prior")
        given["prior"] = Prior.from_pretrained(str(where)).to(options.device)
        about["prior_hash"] = given["prior"].hash
    wanted = kinds(function)
    shape = shape_of(given.get("prior"), given.get("fitted"), chosen)
    sources = open_all(wanted, {k: getattr(options, k) for k in wanted}, shape)
    outputs = results(method)
    walk = _Walk(chosen, sources, given, outputs, options)
    files = [*(FAMILIES[v.name].results(k) for k, v in outputs.items()), _SKIPPED, "index.html"]
    out = open_output(options.out, options.overwrite, files)
    write_record(out, "apply", name, options, about, None)
    done = walk.run(out)
    skipped, first = walk.first.skipped, walk.first
    if not done:
        raise UserError(
            f"none of the {first.count(len(skipped))} can be read: {next(iter(skipped.values()))}"
        )
    _page(name, argv, first_run.seed, walk, out)
    if skipped:
        write_file(out / _SKIPPED, as_json(skipped))
    write_record(out, "apply", name, options, {**about, "skipped": skipped}, files)
    values = {"out": str(out), "items": done, "skipped": skipped}
    left = f", {len(skipped)} skipped (see {out / _SKIPPED})" if skipped else ""
    return answer(options.json, f"{first.count(done)} done{left}: open {out / 'index.html'}", values)


@dataclasses.dataclass
class _Walk:
    """Batch by batch: read, apply, write; memory does not grow with the number of items."""

    method: Any
    sources: dict[str, Source]
    given: dict[str, Any]
    """The prior and what was fitted, as the method takes them."""
    outputs: dict[str, Kind]
    options: Any
    shown: list[tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=list)
    """The first items, for the page."""

    def __post_init__(self) -> None:
        self.first, *others = self.sources.values()
        self.first.check_names()
        self.partners = {s.name: s.all_partners(self.first) for s in others}

    def run(self, out: Path) -> int:
        """Returns how many items were done."""
        total, done = len(self.first), 0
        quiet = self.options.json or total <= self.options.batch
        with tqdm(total=total, desc=f"all {self.first.family.noun[1]}", delay=2, disable=quiet) as bar:
            for start in range(0, total, self.options.batch):
                rows = range(start, min(start + self.options.batch, total))
                good, items = self.first.read_good(rows, self.options.on_error)
                if good:
                    self._batch(out, good, items, done)
                done += len(good)
                bar.update(len(rows))
        return done

    def _batch(self, out: Path, rows: list[int], first: Any, done: int) -> None:
        names = [self.first.names[i] for i in rows]
        items = {self.first.name: first}
        for key, partner in self.partners.items():
            items[key] = self.sources[key].read([partner[i] for i in rows])
        result = self.method.apply(**self.given, **items, run=self.options.run(done))
        made = taken_apart(result, self.outputs)
        for key, kind in self.outputs.items():
            FAMILIES[kind.name].write(out, key, names, made[key])
        for i in range(min(len(rows), _SHOWN - len(self.shown))):
            self.shown.append((names[i], {k: _kept(v[i]) for k, v in {**items, **made}.items()}))


def _kept(item: Any) -> Any:
    """An item that does not hold on to its batch."""
    return item.clone() if isinstance(item, Tensor) else item


def _page(name: str, argv: Sequence[str], seed: int, walk: _Walk, out: Path) -> None:
    every = {**{k: s.family for k, s in walk.sources.items()}}
    every |= {k: FAMILIES[kind.name] for k, kind in walk.outputs.items()}
    page = Page(name, walk.first.count(len(walk.first)), "headwater apply")
    lead = f"The first {walk.first.family.noun[1]}; all are in the folder."
    show(page.section("Results", lead), every, walk.shown)
    page.provenance(["headwater", "apply", *argv], [seed])
    page.write(out / "index.html")
