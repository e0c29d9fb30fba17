"""Filling the holes of texts along a discrete chain, and what the texts then cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch
import torch.nn.functional as F

from headwater.controls.given_tokens import Keep
from headwater.core import last, reverse
from headwater.discrete.denoiser import bound
from headwater.methods.text.d3pm.characters import Piece
from headwater.methods.text.d3pm.fitted import FittedD3PM
from headwater.noise import Stream, White, derive
from headwater.sampling import Run

_WRITE, _MEASURE = 0x4433_5032, 0x4433_5033
"""Purposes of seeds: writing, the bound."""


def filled(parts: Sequence[Piece], fitted: FittedD3PM, plan: Sequence[int], run: Run) -> list[Piece]:
    """The pieces with every hole written, in their order. Shorter ones are written on to a window's end, and
    cut; those without a hole stay as they are."""
    q, found = fitted.process, list(parts)
    holes = [i for i, part in enumerate(parts) if bool((part.ids < 0).any())]
    for rows, _ in run.chunks(len(holes)):
        which = holes[rows]
        some = [parts[i] for i in which]
        given = torch.stack([F.pad(p.ids, (0, fitted.length - len(p.ids)), value=-1) for p in some])
        given, noise = given.to(run.device), _noise(some, run, _WRITE)
        keep = Keep(q, given, fitted.mask is not None, noise)
        with torch.inference_mode():
            walk = reverse(fitted.denoiser, q.start(given, noise), plan, controls=[keep], noise=noise)
            x = last(run.watch(walk, len(plan) - 1, f"texts {rows.stop}"))
        x = torch.where(given < 0, x, given).cpu()
        for i, row in zip(which, x, strict=True):
            found[i] = replace(parts[i], ids=row[: len(parts[i].ids)])
    return found


def nats_of(
    parts: Sequence[Piece], fitted: FittedD3PM, plan: Sequence[int], levels: int, run: Run
) -> list[tuple[Piece, float]]:
    """The bound of each piece in nats per character; pieces of one length share a batch."""
    found: list[tuple[Piece, float]] = []
    for _, same in groupby(sorted(parts, key=lambda p: len(p.ids)), lambda p: len(p.ids)):
        alike = list(same)
        for rows, _ in run.chunks(len(alike)):
            some = alike[rows]
            x0 = torch.stack([part.ids for part in some]).to(run.device)
            with torch.inference_mode():
                nats = bound(fitted.denoiser, x0, plan, _noise(some, run, _MEASURE), levels)
            found += zip(some, nats.tolist(), strict=True)
    return found


def _noise(parts: Sequence[Piece], run: Run, purpose: int) -> Stream:
    return White().stream([derive(run.seed, purpose, run.first + p.text, p.start) for p in parts])
