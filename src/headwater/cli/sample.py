"""`headwater sample PRIOR`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import tyro

from headwater.cli.methods import PRIOR
from headwater.cli.options import parse
from headwater.cli.record import open_output, write_record
from headwater.cli.work import Work, answer
from headwater.core import DDIM, Ancestral, DPMSolver, Heun, Sampler, descend, network_calls
from headwater.core.timesteps import log_snr
from headwater.data import save_picture
from headwater.errors import need
from headwater.models import Prior
from headwater.models.prior import ECONOMICAL
from headwater.report import Page

SAMPLERS: dict[str, Sampler] = {
    "ddim": DDIM(),
    "dpm-solver": DPMSolver(),
    "dpm-solver-sde": DPMSolver(kind="sde"),
    "heun": Heun(),
}
_SHOWN = 256


@dataclass(frozen=True, kw_only=True)
class Options(Work):
    """Draw pictures from a prior: OUT/pictures/*.png and a page with all of them."""

    prior: Annotated[str, tyro.conf.arg(help=PRIOR), tyro.conf.Positional]
    n: int = 64
    """How many."""
    sampler: Literal["prior", "ddim", "dpm-solver", "dpm-solver-sde", "heun"] = "dpm-solver-sde"
    """`prior` is the prior's own ancestral walk; that and `dpm-solver-sde` draw fresh noise at each step."""
    steps: int | None = None
    """Steps of the walk; by default 50, and every level for `prior`."""
    label: int | None = None
    """Number of the class to draw, for priors that know classes."""


def run(argv: Sequence[str]) -> int:
    """Draw and write pictures, a batch at a time."""
    options = parse(Options, argv, "headwater sample")
    need(options.n >= 1, "--n: draw at least one picture")
    work = options.run()
    prior = Prior.from_pretrained(options.prior).to(options.device)
    sampler, plan = _walk(options, prior)
    cond = _condition(options, prior)
    out = open_output(options.out, options.overwrite, ["pictures", "index.html"])
    write_record(out, "sample", "", options, {"prior_hash": prior.hash}, None)
    shown = []
    for rows, part in work.chunks(options.n):
        size = rows.stop - rows.start
        drawn = prior.sample(size, part, plan, sampler, **{k: v.expand(size) for k, v in cond.items()}).cpu()
        for i, picture in enumerate(drawn, rows.start):
            save_picture(picture, out / "pictures" / f"{i:05d}.png")
        shown.append(drawn[: max(0, _SHOWN - rows.start)])
    calls = network_calls(sampler.plan(plan))
    lead = f"{options.n} pictures, {calls} network calls each"
    page = Page(f"Samples of {options.prior}", lead, "headwater sample")
    page.section("Samples").contact_sheet(torch.cat(shown), columns=16)
    page.provenance(["headwater", "sample", *argv], [options.seed])
    page.write(out / "index.html")
    write_record(out, "sample", "", options, {"prior_hash": prior.hash}, ["pictures"])
    values = {"out": str(out), "pictures": options.n, "network_calls": calls}
    return answer(options.json, f"{options.n} pictures in {out}: open {out / 'index.html'}", values)


def _walk(options: Options, prior: Prior) -> tuple[Sampler, list[int]]:
    own, levels = options.sampler == "prior", prior.process.T
    sampler = prior.sampler if own else SAMPLERS[options.sampler]
    steps = (levels if own else min(ECONOMICAL, levels)) if options.steps is None else options.steps
    need(1 <= steps <= levels, f"--steps: this prior has {levels} levels, give 1 to {levels}")
    spread = descend(levels, steps) if isinstance(sampler, Ancestral) else log_snr(prior.process, steps)
    return sampler, list(spread)


def _condition(options: Options, prior: Prior) -> dict[str, Any]:
    if options.label is None:
        return {}
    last = prior.config.class_count - 1
    need(last >= 0, "--label: this prior knows no classes")
    names = f", for {', '.join(prior.config.classes)}" if prior.config.classes else ""
    need(0 <= options.label <= last, f"--label: give 0 to {last}{names}")
    return {"y": torch.tensor([options.label], device=options.device)}
