"""Noise schedules of texts against DiffuSeq's and D3PM's code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from arrays import Golden, close
from headwater.core import schedule

DIFFUSEQ = {
    "sqrt": "sqrt",
    "linear": "linear",
    "cosine": "cosine",
    "trunc_cos": "truncated_cosine",
    "trunc_lin": "truncated_linear",
}


@pytest.mark.parametrize("name", DIFFUSEQ)
def test_diffuseq(golden: Callable[[str], Golden], name: str) -> None:
    ref = golden("diffuseq/schedules")
    for T in ref.config["Ts"]:
        ours = schedule.betas(DIFFUSEQ[name], T)
        close(ours, ref[f"out/betas_{name}_{T}"], 1e-12)
        close((1 - ours).cumprod(0), ref[f"out/alphas_cumprod_{name}_{T}"], 1e-12)


def test_d3pm(golden: Callable[[str], Golden]) -> None:
    text = golden("d3pm/text")
    T = text.config["steps"]
    close(schedule.reciprocal(T), text["out/schedule_standard"], 1e-7)
    close(schedule.betas("cosine_unsquared", T), text["out/schedule_cosine"], 1e-6)
