"""`headwater sample PRIOR`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import tyro

from headwater.cli.methods import PRIOR
from headwater.cli.options import parse
from headwater.cli.output import apart, open_output
from headwater.cli.parts import Parts
from headwater.cli.record import PAGE, write_record
from headwater.cli.sizes import for_size
from headwater.cli.work import Work, answer
from headwater.core import network_calls
from headwater.data import save_picture
from headwater.errors import need
from headwater.locks import locked
from headwater.models import Prior
from headwater.models.prior import ECONOMICAL
from headwater.report import Page
from headwater.sampling import SamplerName, sampler_of

_SHOWN = 256


@dataclass(frozen=True, kw_only=True)
class Options(Work):
    """Draw pictures from a prior: OUT/pictures/*.png and a page with all of them."""

    prior: Annotated[str, tyro.conf.arg(help=PRIOR), tyro.conf.Positional]
    n: int = 64
    """Number of pictures to draw."""
    sampler: SamplerName = "dpm-solver-sde"
    """Sampler of each step; `ancestral`, the prior's own, and `dpm-solver-sde` draw fresh noise in it."""
    steps: int | None = None
    """Number of steps; by default 50, and every timestep for `ancestral`."""
    size: str | None = None
    """Size of the pictures where it is larger than the prior's, HEIGHTxWIDTH: its network is asked tile by
    tile, and the tiles are blended in every step."""
    label: int | None = None
    """Number of the class to draw, for priors that know classes."""


def run(argv: Sequence[str]) -> int:
    """Draw and write pictures, a batch at a time."""
    options = parse(Options, argv, "headwater sample")
    need(options.n >= 1, "--n: draw at least one picture")
    apart(options.out, {"PRIOR": options.prior}, {"PRIOR"})
    with locked(options.out):
        return _sample(argv, options)


def _sample(argv: Sequence[str], options: Options) -> int:
    work = options.run()
    prior = for_size(Prior.from_pretrained(options.prior).to(options.device), options.size)
    channels = prior.shape[0]
    need(
        channels in (1, 3),
        f"{options.prior} draws {channels} channels, and a picture has 1 or 3: draw arrays with Prior.sample",
    )
    own, T = options.sampler == "ancestral", prior.process.T
    sampler = prior.sampler if own else sampler_of(options.sampler)
    plan = prior.timesteps(
        (T if own else min(ECONOMICAL, T)) if options.steps is None else options.steps, sampler
    )
    cond = _condition(options, prior)
    names = [f"pictures/{i:05d}.png" for i in range(options.n)]
    out = open_output(options.out, "sample", "", [*names, PAGE], options.overwrite)
    write_record(out, "sample", "", options, {"prior_hash": prior.hash}, None)
    shown = []
    for batch in work.batches(options.n):
        drawn = prior.sample(len(batch), plan, sampler, cond, **batch.rest)
        need(
            bool(drawn.isfinite().all()),
            f"{options.prior} draws values that are not finite, as its network overflows: it is damaged, or "
            "was trained otherwise than it says",
        )
        if not batch.items.start:
            Parts(out).plan([*names, PAGE])
        for i, picture in enumerate(drawn, batch.items.start):
            save_picture(picture, out / names[i])
        shown.append(drawn[: max(0, _SHOWN - batch.items.start)])
    calls = network_calls(sampler.plan(plan))
    lead = f"{options.n} pictures, {calls} network calls each"
    page = Page(f"Samples of {options.prior}", lead, "headwater sample")
    page.section("Samples").contact_sheet(torch.cat(shown), columns=16)
    page.provenance(["headwater", "sample", *argv], [options.seed])
    page.write(out / PAGE)
    write_record(out, "sample", "", options, {"prior_hash": prior.hash}, names)
    Parts(out).remove()
    values = {"out": str(out), "pictures": options.n, "network_calls": calls}
    return answer(options.json, f"{options.n} pictures in {out}: open {out / PAGE}", values)


def _condition(options: Options, prior: Prior) -> dict[str, Any]:
    if options.label is None:
        return {}
    last = prior.config.class_count - 1
    need(last >= 0, "--label: this prior knows no classes")
    names = f", for {', '.join(prior.config.classes)}" if prior.config.classes else ""
    need(0 <= options.label <= last, f"--label: give 0 to {last}{names}")
    return {"y": torch.tensor([options.label])}
