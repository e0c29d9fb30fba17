"""`headwater sample PRIOR`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from headwater.cli.options import parse
from headwater.cli.record import open_output, write_record
from headwater.cli.work import Work, answer
from headwater.core import DDIM, Ancestral, DPMSolver, Heun, Sampler, descend, network_calls
from headwater.core.plan import log_snr
from headwater.data import save_picture
from headwater.errors import need
from headwater.priors import Prior
from headwater.report import Page

SAMPLERS: dict[str, Sampler] = {"ddim": DDIM(), "dpm-solver": DPMSolver(), "heun": Heun()}


@dataclass(frozen=True, kw_only=True)
class Options(Work):
    """Draw pictures from a prior: OUT/pictures/*.png and a page with all of them."""

    prior: Annotated[str, tyro.conf.Positional]
    """A shipped prior, a folder, a guided-diffusion file or a hub name."""
    n: int = 64
    """How many."""
    sampler: Literal["prior", "ddim", "dpm-solver", "heun"] = "dpm-solver"
    """`prior` is the prior's own ancestral walk."""
    steps: int | None = None
    """Steps of the walk; by default 25, and every level for `prior`."""
    label: int | None = None
    """Class to draw, for class-conditional priors."""


def run(argv: Sequence[str]) -> int:
    """Draw and write pictures."""
    options = parse(Options, argv, "headwater sample")
    need(options.n >= 1, "draw at least one picture: --n 1 or more")
    prior = Prior.from_pretrained(options.prior).to(options.device)
    out = open_output(options.out, options.overwrite)
    own = options.sampler == "prior"
    sampler = prior.sampler if own else SAMPLERS[options.sampler]
    steps = options.steps or (prior.process.T if own else 25)
    need(1 <= steps <= prior.process.T, f"--steps: this prior has {prior.process.T} levels")
    plan = (
        descend(prior.process.T, steps) if isinstance(sampler, Ancestral) else log_snr(prior.process, steps)
    )
    cond = {}
    if options.label is not None:
        import torch

        need(bool(prior.config.classes), "--label: this prior knows no classes")
        need(
            0 <= options.label < len(prior.config.classes),
            f"--label: give 0 to {len(prior.config.classes) - 1}",
        )
        cond["y"] = torch.full((options.n,), options.label)
    drawn = prior.sample(options.n, options.run(), plan, sampler, **cond).cpu()
    for i, picture in enumerate(drawn):
        save_picture(picture, out / "pictures" / f"{i:05d}.png")
    calls = network_calls(sampler.plan(plan))
    page = Page(
        f"Samples of {options.prior}", f"{options.n} pictures, {calls} network calls each", "headwater sample"
    )
    page.section("Samples").contact_sheet(drawn[:256], columns=16)
    page.provenance(["headwater", "sample", *argv], [options.seed])
    page.write(out / "index.html")
    write_record(out, "sample", "", options, {"prior_hash": prior.hash})
    values = {"out": str(out), "pictures": options.n, "network_calls": calls}
    return answer(options.json, f"{options.n} pictures in {out}: open {out / 'index.html'}", values)
