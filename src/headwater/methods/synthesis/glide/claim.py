"""Does guidance make pictures match their captions better, and what does it cost in variety? (Fig. 6)

Captions: names of emoji that were held out of training, of which every word occurs in training (new
combinations of known words), and names that were trained on. Each caption is drawn several times at each
scale, from the same noise. A dual encoder trained in the run on all emoji, held-out ones too, judges: does a
drawing lie nearer to its own name than to 31 others (chance 1/32), and how far apart do drawings of one name
lie. The rule, on new combinations, all 95 % bootstrap intervals over captions:

    held      retrieval at scale 3 is above that at scale 1, and above chance; variety at scale 3 is below
              that at scale 1
    partly    some of these three
    not held  none

It was written before any result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headwater.data import load
from headwater.data.shipped import Set
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import compare, verdict
from headwater.methods.synthesis.glide.method import Glide
from headwater.methods.synthesis.shared.claim_page import Group, show
from headwater.methods.synthesis.shared.fitted_glide import FittedGlide
from headwater.metrics.dual_encoder import DualEncoder, retrieve, train_dual_encoder, words
from headwater.sampling import Run

WAYS = 32
LOW, HIGH = 1.0, 3.0
"""The scales that the verdict compares."""


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    method: Glide
    scales: tuple[float, ...]
    """0 draws without the caption."""
    new: int
    """New combinations, at most."""
    seen: int
    """Names that were trained on."""
    judge: int
    """Steps of the dual encoder's training."""
    times: int = 2
    """Drawings of each caption per seed."""


_METHOD = Glide(steps="15", sampler="dpm-solver")
QUICK = Setting(replace(_METHOD, steps="10"), (0, 1, 2, 3), 12, 4, 300)
FULL = Setting(_METHOD, (0, 1, 1.5, 2, 3, 5), 100, 24, 600)


def new_combinations(train: Sequence[str], test: Sequence[str]) -> list[str]:
    """The names in `test`, each once, that consist of words of `train`; none of them is in `train`."""
    known = {word for name in train for word in words(name)}
    fresh = dict.fromkeys(name for name in test if name not in set(train))
    return [name for name in fresh if words(name) and known.issuperset(words(name))]


def shuffled(names: list[str], n: int) -> list[str]:
    """At most n of the names, in an order that does not depend on results."""
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
    return [names[int(i)] for i in order[:n]]


def drawings(method: Glide, fitted: FittedGlide, texts: Sequence[str], times: int, run: Run) -> Tensor:
    """(captions, times, C, H, W)."""
    repeated = [text for text in texts for _ in range(times)]
    return method.apply(repeated, fitted, **run).unflatten(0, (len(texts), times))


def judged(
    judge: DualEncoder, drawn: Tensor, texts: Sequence[str], names: Sequence[str], seed: int
) -> dict[str, Tensor]:
    """Per caption: share of drawings that are retrieved, mean cosine, mean distance of two drawings."""
    times = drawn.shape[1]
    repeated = [text for text in texts for _ in range(times)]
    found = retrieve(judge, drawn.flatten(0, 1), repeated, names, WAYS, seed)
    vectors = judge.image(drawn.flatten(0, 1)).unflatten(0, (len(texts), times))
    between = (vectors @ vectors.mT).sum((1, 2)) - times
    pixels = (drawn - drawn.mean(1, keepdim=True)).square().mean((1, 2, 3, 4)).sqrt()
    return {
        "retrieval": found.hit.double().view(-1, times).mean(1),
        "similarity": found.similarity.double().view(-1, times).mean(1),
        "variety": 1 - between.double() / (times * (times - 1)),
        "pixel spread": pixels.double(),
    }


def reproduce(task: Task) -> Outcome:
    """Sweep the scale on held-out and on trained names and report both sides of the trade."""
    setting = QUICK if task.effort == "quick" else FULL
    fitted = FittedGlide.from_pretrained("glide")
    train, test = (load("emoji", split, fitted.shape[-1]) for split in ("train", "test"))
    names = [*(train.names or []), *(test.names or [])]
    judge = train_dual_encoder(
        torch.cat([train.images, test.images]), names, 0, setting.judge, progress=task.progress
    )
    new = new_combinations(train.names or [], test.names or [])
    texts = {
        "new combinations": shuffled(new, setting.new),
        "trained names": shuffled(sorted(set(train.names or [])), setting.seen),
    }
    groups = []
    for title, chosen in texts.items():
        found: dict[float, dict[str, list[Tensor]]] = {}
        shown: dict[float, Tensor] = {}
        for scale in setting.scales:
            method = replace(setting.method, guidance_scale=float(scale))
            found[scale] = {}
            for seed in task.seeds:
                run = Run(seed, batch_size=48, progress=task.progress)
                drawn = drawings(method, fitted, chosen, setting.times, run)
                for measure, values in judged(judge, drawn, chosen, names, seed).items():
                    found[scale].setdefault(measure, []).append(values)
                shown.setdefault(scale, drawn)
        stacked = {s: {m: torch.stack(v).numpy() for m, v in of.items()} for s, of in found.items()}
        groups.append(Group(title, chosen, stacked, shown, _real(train, test, chosen)))
    return _outcome(task, setting, groups, _reference(judge, test, new, names))


def _real(train: Set, test: Set, texts: Sequence[str]) -> list[Tensor]:
    """A picture of each caption as it was drawn by people."""
    pictures = {
        name: image
        for part in (train, test)
        for name, image in zip(part.names or [], part.images, strict=True)
    }
    return [pictures[text] for text in texts]


def _reference(judge: DualEncoder, test: Set, new: Sequence[str], names: Sequence[str]) -> float:
    """How well the judge itself finds the names of the real pictures of new combinations."""
    rows = [i for i, name in enumerate(test.names or []) if name in set(new)]
    return retrieve(judge, test.images[rows], [(test.names or [])[i] for i in rows], names, WAYS).accuracy


def _outcome(task: Task, setting: Setting, groups: Sequence[Group], reference: float) -> Outcome:
    at: Mapping[float, Mapping[str, np.ndarray]] = groups[0].found
    chance = np.full(len(groups[0].texts), 1 / WAYS)
    required = [
        compare(f"retrieval, scale {HIGH:g} against {LOW:g}", at[HIGH]["retrieval"], at[LOW]["retrieval"],
                "larger", "caption"),
        compare(f"retrieval, scale {HIGH:g} against chance", at[HIGH]["retrieval"], chance,
                "larger", "caption"),
        compare(f"fall of variety from scale {LOW:g} to {HIGH:g}", at[HIGH]["variety"], at[LOW]["variety"],
                "smaller", "caption"),
    ]  # fmt: skip
    decided = verdict(required)
    measured = "; ".join(map(str, required))
    show(task.page, groups, required, reference, task.seeds, setting.judge, setting.method.steps)
    task.page.sections[-1].claim(Glide.paper.claim, measured, decided)
    return Outcome(
        "glide",
        Glide.paper.claim,
        measured,
        decided,
        {
            "required": {c.what: c.to_dict() for c in required},
            "judge on real pictures": reference,
            **{
                group.title: {
                    f"scale {s:g}": {m: float(v.mean()) for m, v in of.items()}
                    for s, of in group.found.items()
                }
                for group in groups
            },
        },
        {"effort": task.effort, "seeds": list(task.seeds), "captions": {g.title: g.texts for g in groups}},
    )
