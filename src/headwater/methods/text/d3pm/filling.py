"""Filling the holes of texts along a discrete chain, and what the texts then cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch
import torch.nn.functional as F

from headwater.controls import GivenRegion
from headwater.discrete.denoiser import bound
from headwater.methods.text.d3pm.characters import Piece
from headwater.methods.text.d3pm.fitted import FittedD3PM
from headwater.sampling import Batch, Run, Start, sample
from headwater.sampling.run import Key

_WRITE, _MEASURE = 0x4433_5032, 0x4433_5033
"""Purposes of seeds: writing, the bound."""


def filled(parts: Sequence[Piece], fitted: FittedD3PM, plan: Sequence[int], run: Run) -> list[Piece]:
    """The pieces with every hole written, in their order. Shorter ones are written on to a window's end, and
    cut; those without a hole stay as they are."""
    q, found = fitted.process, list(parts)
    which = [i for i, part in enumerate(parts) if bool((part.ids < 0).any())]
    if not which:
        return found
    some = [parts[i] for i in which]
    given = torch.stack([F.pad(p.ids, (0, fitted.length - len(p.ids)), value=-1) for p in some])

    def begin(batch: Batch) -> Start:
        here = batch.take(given)
        # Unmasked characters are never touched where the chain has a mask: there the given ones enter clean.
        noise = batch.noise if fitted.mask is None else None
        region = GivenRegion(here.clamp(min=0), here >= 0, q, noise)
        return Start(q.start(here, batch.noise), [region])

    key = _key(some, run, _WRITE)
    drawn = sample(fitted.denoiser, plan, len(some), begin, run, key=key, label="texts")
    for i, row in zip(which, torch.where(given < 0, drawn, given), strict=True):
        found[i] = replace(parts[i], ids=row[: len(parts[i].ids)])
    return found


def nats_of(
    parts: Sequence[Piece], fitted: FittedD3PM, plan: Sequence[int], levels: int, run: Run
) -> list[tuple[Piece, float]]:
    """The bound of each piece in nats per character; pieces of one length share a batch."""
    found: list[tuple[Piece, float]] = []
    for _, same in groupby(sorted(parts, key=lambda p: len(p.ids)), lambda p: len(p.ids)):
        alike = list(same)
        for batch in run.batches(len(alike), key=_key(alike, run, _MEASURE)):
            some = alike[batch.rows]
            x0 = torch.stack([part.ids for part in some]).to(run.device)
            with torch.inference_mode():
                nats = bound(fitted.denoiser, x0, plan, batch.noise, levels)
            found += zip(some, nats.tolist(), strict=True)
    return found


def _key(parts: Sequence[Piece], run: Run, purpose: int) -> Key:
    return lambda i, _: (purpose, run.first + parts[i].text, parts[i].start)
