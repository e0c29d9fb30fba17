"""`headwater apply METHOD`: a method on the user's own files, written as it goes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwater.cli.files import OnError, Source, kinds, results, write, write_scores
from headwater.cli.methods import chosen, fitted_class, options_of, recorded
from headwater.cli.options import parse
from headwater.cli.record import open_output, write_record
from headwater.cli.work import answer
from headwater.data.masks import UNLABELLED
from headwater.data.saving import write_atomic
from headwater.errors import need
from headwater.methods.base import Kind
from headwater.priors import Prior
from headwater.report import Cell, Classes, Heat, Page


def run(argv: Sequence[str]) -> int:
    """Apply a method and write its outputs: OUT/<output>/<picture>, run.yaml and a page."""
    name, method, words = chosen(argv, "apply")
    assert method is not None
    function: Any = getattr(method, "apply")  # noqa: B009 - each method declares its own arguments
    inputs, wants = kinds(function), fitted_class(function)
    extra: dict[str, Any] = {}
    if wants:
        extra["fitted"] = (Path, f"folder that `headwater fit {name}` wrote")
    kind = options_of(name, method, "apply", inputs, extra)
    kind = dataclasses.make_dataclass(
        kind.__name__,
        [("prior", str | None, None), ("on_error", OnError, "stop")],
        bases=(kind,),
        frozen=True,
        kw_only=True,
    )
    options: Any = parse(kind, words, f"headwater apply {name}")
    where = options.prior or (recorded(options.fitted, "prior") if wants else None)
    need(where is not None, "--prior: name a shipped prior, a folder, a guided-diffusion file or a hub name")
    prior = Prior.from_pretrained(str(where)).to(options.device)
    sources = {k: Source(k, v, getattr(options, k), prior.shape, options.on_error) for k, v in inputs.items()}
    fixed = {"fitted": wants.load(options.fitted / "fitted", options.device)} if wants else {}
    outputs = results(function, _single(method))
    out = open_output(options.out, options.overwrite)
    first = next(iter(sources.values()))
    done = _walk(options, prior, first, sources, fixed, outputs, out)
    _page(name, argv, options, sources, outputs, done, out)
    if first.skipped:
        write_atomic(out / "skipped.json", json.dumps(dict(first.skipped), indent=2).encode())
    write_record(out, "apply", name, options, {"prior_hash": prior.hash, "skipped": dict(first.skipped)})
    values = {"out": str(out), "items": len(first), "skipped": dict(first.skipped)}
    skipped = f", {len(first.skipped)} skipped (see skipped.json)" if first.skipped else ""
    return answer(options.json, f"{len(first)} pictures done{skipped}: open {out / 'index.html'}", values)


def _single(method: Any) -> str:
    """What a method's only output is called: as the first argument of its `evaluate`."""
    return next(iter(kinds(method.evaluate)))


def _walk(
    options: Any,
    prior: Prior,
    first: Source,
    sources: dict[str, Source],
    fixed: dict[str, Any],
    outputs: dict[str, Kind],
    out: Path,
) -> list[dict[str, Tensor]]:
    """Batch by batch: read, apply, write. Returns the first items for the page."""
    shown: list[dict[str, Tensor]] = []
    scores: dict[str, list[float]] = {k: [] for k, v in outputs.items() if v.name == "scores"}
    for start in range(0, len(first), options.batch):
        rows = list(range(start, min(start + options.batch, len(first))))
        names = [first.names[i] for i in rows]
        given = {k: s.read(rows if s is first else s.beside(names)) for k, s in sources.items()}
        result = options.method.apply(prior, **given, **fixed, run=options.run(start))
        made = {k: result if isinstance(result, Tensor) else getattr(result, k) for k in outputs}
        for key, kind in outputs.items():
            if kind.name == "scores":
                scores[key] += [float(v) for v in made[key]]
                write_scores(out / f"{key}.csv", first.names[: len(scores[key])], scores[key])
                continue
            for name, value in zip(names, made[key].cpu(), strict=True):
                write(kind, out / key, name, value)
        room = max(0, 12 - len(shown))
        shown += [{k: v[i].cpu() for k, v in {**given, **made}.items()} for i in range(min(room, len(rows)))]
    return shown


def _page(
    name: str,
    argv: Sequence[str],
    options: Any,
    sources: dict[str, Source],
    outputs: dict[str, Kind],
    shown: list[dict[str, Tensor]],
    out: Path,
) -> None:
    kinds_ = {**{k: s.kind for k, s in sources.items()}, **outputs}
    columns = [k for k, kind in kinds_.items() if kind.name != "scores"]
    page = Page(name, f"{len(next(iter(sources.values())))} pictures", "headwater apply")
    labels = [item[k] for item in shown for k in columns if kinds_[k].name == "labels"]
    seen = [int(v[v != UNLABELLED].max()) + 1 for v in labels if bool((v != UNLABELLED).any())]
    rows = [[_cell(kinds_[k], item[k], max(seen, default=1)) for k in columns] for item in shown]
    names = next(iter(sources.values())).names[: len(rows)]
    page.section("Results", "The first pictures; all are in the folder.").pictures(columns, rows, names)
    page.provenance(["headwater", "apply", *argv], [options.seed])
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
