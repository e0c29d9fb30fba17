"""The chains of a fitted D3PM against the authors' code for texts, which counts t from 0 where 1 is here."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_lowercase
from typing import Any

import pytest
import torch
from torch import Tensor

from arrays import close
from closed_form import F64
from headwater.data.characters import Characters
from headwater.discrete import Discrete
from headwater.methods.text.d3pm.method import Chain, D3PMConfig, FittedD3PM, Schedule
from headwater.nets.text_transformer import TextTransformerConfig

Load = Callable[[str], Any]


def process(text: Any, chain: Chain, schedule: Schedule, T: int) -> Discrete:
    """That of a D3PM fitted to texts with the characters of the reference's."""
    V = text.config["dim"]
    counts = (text["in/initial_distribution"].double() * 1e12).long().diag()
    network = TextTransformerConfig(V + (chain == "absorbing"), 4, 8, 1, 2)
    symbols, pairs = Characters(ascii_lowercase[:V]), tuple(map(tuple, counts.tolist()))
    return FittedD3PM.fresh(D3PMConfig(network, symbols, pairs, chain, T, schedule), seed=0).process


def close_matrices(q: Discrete, steps: Tensor, whole: Tensor, T: int) -> None:
    """One-step and cumulative matrices of the first T timesteps, columns from; `whole` begins with t = 0."""
    eye = torch.eye(q.K, dtype=F64)
    for t in range(T):
        close(q.forward(eye, t, t + 1).T, steps[t].double(), 1e-5)
        close(q.forward(eye, 0, t + 1).T, whole[t + 1].double(), 1e-5)


@pytest.mark.parametrize(("last", "name"), [(1, "uniform_lastmask"), (0, "uniform_nolast")])
def test_uniform_chain_of_the_information_schedule(golden: Load, last: int, name: str) -> None:
    text = golden("d3pm/text")
    T = text.config["steps"] - last
    steps, whole = text[f"out/{name}_get"], text[f"out/{name}_qt"]
    close_matrices(process(text, "uniform", "information", T), steps, whole, T)


@pytest.mark.parametrize(("chain", "name"), [("absorbing", "mask"), ("uniform", "betadiag")])
def test_chains_and_posteriors(golden: Load, chain: Chain, name: str) -> None:
    text = golden("d3pm/text")
    T = text.config["steps"]
    q = process(text, chain, "cosine", T)
    close_matrices(q, text[f"out/{name}_get"], text[f"out/{name}_qt"], T - 1)  # the code overwrites its last
    x0, x = text["in/x0"].long(), text["in/x_t_plus_1"].long().clamp(max=q.K - 1)
    soft = text["in/x0_logits"].softmax(-1)[:, : q.K].log()
    certain = torch.nn.functional.one_hot(x0, q.K).float().log()
    for t in text.config["ts"]:
        for stride in (1, 2):
            for kind, logits in (("", certain), ("_soft", soft)):
                stored = text[f"out/{name}_posterior{kind}_t{t}_s{stride}"]
                likelihood = (q.column(x[None], 0, t + stride)[0] * logits.exp()).sum(-1)
                possible = likelihood > 1e-12  # x_t+s was given, not drawn: some pairs cannot be
                ours = q.posterior(x[None], logits[None], t + stride, t).probs[0]
                close(ours[possible], stored[possible], 1e-5)
