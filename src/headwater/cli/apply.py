"""`headwater apply METHOD`: a method on the user's own files, written as it goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from headwater.atomic import write_file
from headwater.cli.files import OnError, Source, add_scores, write
from headwater.cli.methods import (
    PRIOR,
    fitted_class,
    inputs_of,
    kinds,
    options_of,
    recorded_method,
    results,
    verb_of,
    with_method,
)
from headwater.cli.options import parse
from headwater.cli.record import open_output, read_record, write_record
from headwater.cli.work import Work, answer, as_json
from headwater.data.masks import UNLABELLED
from headwater.errors import UserError, need
from headwater.methods.base import Kind
from headwater.methods.catalogue import entry
from headwater.priors import Prior
from headwater.report import Cell, Classes, Heat, Page

_SKIPPED = "skipped.json"
_SHOWN = 12
"""Items on the page."""


def run(argv: Sequence[str]) -> int:
    """Apply a method and write its outputs: OUT/<output>/<picture>, run.yaml and a page."""
    name, method = argv[0], entry(argv[0]).load()
    function = verb_of(method, "apply")
    fitted = fitted_class(function)
    fields: dict[str, tuple[Any, str]] = dict(inputs_of(function))
    if fitted:
        fields["fitted"] = (Path, f"folder that `headwater fit {name}` wrote; its settings hold")
    fields["prior"] = (str | None, f"{PRIOR}; by default the one that was fitted") if fitted else (str, PRIOR)
    fields["on_error"] = (OnError, "what a corrupt picture does: stop, or be skipped and listed")
    kind = options_of(
        "apply", name, Work, fields, {"on_error": "stop", **({"prior": None} if fitted else {})}
    )
    options = parse(kind if fitted else with_method(kind, method), argv[1:], f"headwater apply {name}")
    return _apply(name, argv, options, method, fitted)


def _apply(name: str, argv: Sequence[str], options: Any, method: Any, fitted: Any) -> int:
    function, given = verb_of(method, "apply"), {}
    first_run = options.run()
    chosen, where = getattr(options, "method", None), options.prior
    if fitted:
        need(
            options.fitted.is_dir(),
            f"--fitted: {options.fitted} is no folder: `headwater fit {name}` writes one",
        )
        record = read_record(options.fitted)
        chosen = recorded_method(method, record)
        where = where or (record.get("options") or {}).get("prior")
        need(where is not None, f"{options.fitted} does not say which prior it was fitted on: add --prior")
        given["fitted"] = fitted.load(options.fitted / "fitted", options.device)
    prior = Prior.from_pretrained(str(where)).to(options.device)
    sources = {k: Source(k, v, getattr(options, k), prior.shape) for k, v in kinds(function).items()}
    outputs = results(method)
    walk = _Walk(chosen, prior, sources, given, outputs, options)
    files = [*(f"{k}.csv" if v.name == "scores" else k for k, v in outputs.items()), _SKIPPED, "index.html"]
    out = open_output(options.out, options.overwrite, files)
    about: dict[str, Any] = {"prior_hash": prior.hash}
    write_record(out, "apply", name, options, about, None)
    done = walk.run(out)
    skipped = walk.first.skipped
    if not done:
        raise UserError(f"none of the {len(skipped)} pictures can be read: {next(iter(skipped.values()))}")
    _page(name, argv, first_run.seed, walk, out)
    if skipped:
        write_file(out / _SKIPPED, as_json(skipped))
    write_record(out, "apply", name, options, {**about, "skipped": skipped}, files)
    values = {"out": str(out), "items": done, "skipped": skipped}
    left = f", {len(skipped)} skipped (see {out / _SKIPPED})" if skipped else ""
    pictures = "picture" if done == 1 else "pictures"
    return answer(options.json, f"{done} {pictures} done{left}: open {out / 'index.html'}", values)


@dataclasses.dataclass
class _Walk:
    """Batch by batch: read, apply, write; memory does not grow with the number of items."""

    method: Any
    prior: Prior
    sources: dict[str, Source]
    given: dict[str, Any]
    outputs: dict[str, Kind]
    options: Any
    shown: list[tuple[str, dict[str, Tensor]]] = dataclasses.field(default_factory=list)
    """The first items, for the page."""

    def __post_init__(self) -> None:
        self.first, *others = self.sources.values()
        self.first.check_names()
        self.partners = {s.name: s.all_partners(self.first) for s in others}

    def run(self, out: Path) -> int:
        """Returns how many items were done."""
        total, done = len(self.first), 0
        quiet = self.options.json or total <= self.options.batch
        with tqdm(total=total, desc="all pictures", delay=2, disable=quiet) as bar:
            for start in range(0, total, self.options.batch):
                rows = range(start, min(start + self.options.batch, total))
                good, images = self.first.read_good(rows, self.options.on_error)
                if images is not None:
                    self._batch(out, good, images, done)
                done += len(good)
                bar.update(len(rows))
        return done

    def _batch(self, out: Path, rows: list[int], images: Tensor, done: int) -> None:
        names = [self.first.names[i] for i in rows]
        items = {self.first.name: images}
        for key, partner in self.partners.items():
            items[key] = self.sources[key].read([partner[i] for i in rows])
        result = self.method.apply(self.prior, **items, **self.given, run=self.options.run(done))
        made = {k: result if isinstance(result, Tensor) else getattr(result, k) for k in self.outputs}
        made = {k: v.cpu() for k, v in made.items()}
        for key, kind in self.outputs.items():
            if kind.name == "scores":
                add_scores(out / f"{key}.csv", names, made[key].tolist())
                continue
            for name, value in zip(names, made[key], strict=True):
                write(kind, out / key, name, value)
        for i in range(min(len(rows), _SHOWN - len(self.shown))):
            self.shown.append((names[i], {k: v[i].clone() for k, v in {**items, **made}.items()}))


def _page(name: str, argv: Sequence[str], seed: int, walk: _Walk, out: Path) -> None:
    every = {**{k: s.kind for k, s in walk.sources.items()}, **walk.outputs}
    columns = [k for k, kind in every.items() if kind.name != "scores"]
    labels = [item[k] for _, item in walk.shown for k in columns if every[k].name == "labels"]
    seen = [int(v[v != UNLABELLED].max()) + 1 for v in labels if bool((v != UNLABELLED).any())]
    rows = [[_cell(every[k], item[k], max(seen, default=1)) for k in columns] for _, item in walk.shown]
    page = Page(name, f"{len(walk.first)} pictures", "headwater apply")
    section = page.section("Results", "The first pictures; all are in the folder.")
    section.pictures(columns, rows, [shown for shown, _ in walk.shown])
    page.provenance(["headwater", "apply", *argv], [seed])
    page.write(out / "index.html")


def _cell(kind: Kind, value: Tensor, count: int) -> Cell:
    match kind.name:
        case "map":
            return Heat(value[0])
        case "mask":
            return value.reshape(value.shape[-2:])
        case "labels":
            return Classes(torch.where(value == UNLABELLED, -1, value), count)
        case _:
            return value
