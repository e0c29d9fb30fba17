"""Does it matter which states of a text turn into which? (Austin et al. 2021, table 1)

Verdict, fixed before any run: held if, beyond chance, (a) masking needs fewer bits per character than uniform
replacement, and (b) it still does with a quarter of the steps against uniform with all; partly if one is so.
The n-gram model is reported, not required: the paper makes no promise about it. Pictures have a claim of
their own, `d3pm-images`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace

from torch import Tensor

from headwater.data import load
from headwater.experiments.base import Outcome, Task
from headwater.experiments.comparison import compare, verdict
from headwater.experiments.d3pm_page import Figures, show
from headwater.methods.text.d3pm.characters import Characters, stream_of
from headwater.methods.text.d3pm.method import D3PM
from headwater.metrics.ngram import best_order
from headwater.training import TrainerConfig

T, LENGTH = 64, 64


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    seeds: int
    verses: int | None
    """Verses learnt from; None takes all."""
    text: TrainerConfig
    windows: int
    """Test windows of 64 characters."""
    extra: bool
    """Whether the arms that the claim does not need are trained too."""


def pace(steps: int, lr: float) -> TrainerConfig:
    """Batches of 32, a rate that falls to 0."""
    return TrainerConfig(steps, 32, lr=lr, warmup=min(50, steps // 4), decay="cosine", grad_clip=1.0)


QUICK = Setting(1, 4000, pace(300, 4e-3), 48, extra=False)
FULL = Setting(99, None, pace(1500, 4e-3), 128, extra=True)

TEXT = D3PM(T=T, length=LENGTH, width=64, layers=2, heads=4, steps=T, levels=T)


def text_arms(setting: Setting) -> dict[str, D3PM]:
    """The paper's weights of the cross entropy: 0.01 where the chain absorbs, 0 elsewhere."""
    base = replace(TEXT, training=setting.text)
    arms = {"absorbing": base, "uniform": replace(base, chain="uniform", auxiliary=0.0)}
    if setting.extra:
        arms["uniform, exact mixture"] = replace(arms["uniform"], mixture="exact")
        arms["nearest neighbour"] = replace(base, chain="nearest", auxiliary=0.0)
    return arms


def plain_text(split: str, count: int | None = None) -> list[str]:
    """Verses of the King James Version in 26 letters and the space, like text8."""
    return [re.sub("[^a-z]+", " ", verse.lower()).strip() for verse in load("verses", split).source[:count]]


def reproduce(task: Task) -> Outcome:
    """Train the chains on verses, and compare their bounds on test windows."""
    setting = QUICK if task.effort == "quick" else FULL
    seeds = task.seeds[: setting.seeds]
    figures = Figures(seeds=seeds, T=T)
    texts = plain_text("train", setting.verses)
    chains = text_arms(setting)
    held = windows_of(Characters.of(texts), "test", setting.windows)
    for seed in seeds:
        run = task.run(seed)
        for name, method in chains.items():
            fitted = method.fit(texts, **run.child(name))
            test = [fitted.config.characters.decode(row) for row in held]
            for label, steps in (("", T), (" at a quarter", T // 4)):
                some = replace(method, steps=steps, levels=steps)
                bits = some.apply(test, fitted, **run).bits
                figures.text.setdefault(name + label, []).append(bits.tolist())
            if seed == seeds[0]:
                figures.written[name] = method.write(4, fitted, **run)
                figures.written[f"{name} at a quarter"] = replace(method, steps=T // 4).write(
                    4, fitted, **run
                )
            if seed == seeds[0] and name == "absorbing":
                holes = [re.sub("[a-z]", lambda m: m[0] if hash_of(m) % 2 else "_", t) for t in test[:4]]
                figures.completed = list(
                    zip(holes, method.apply(holes, fitted, **run).written, test, strict=False)
                )
    characters = Characters.of(texts)
    stream, seen = stream_of(characters, texts).numpy(), windows_of(characters, "val", 200).numpy()
    model = best_order(stream, seen, len(characters))
    figures.ngram, figures.order = model.bits(held.numpy()).mean(1).tolist(), model.order
    figures.unigram = replace(model, order=1).bits(held.numpy()).mean(1).tolist()
    return conclude(task, setting, figures)


def windows_of(characters: Characters, split: str, count: int) -> Tensor:
    """Windows of a split one after the other, (count, 64)."""
    stream = stream_of(characters, plain_text(split))
    rows = stream[: len(stream) // LENGTH * LENGTH].reshape(-1, LENGTH)
    return rows[:: max(1, len(rows) // count)][:count]


def hash_of(match: re.Match[str]) -> int:
    """A coin that depends on the place alone."""
    return (match.start() * 2654435761 >> 7) & 1


def conclude(task: Task, setting: Setting, figures: Figures) -> Outcome:
    """Compare by test window, averaged over seeds."""
    text = figures.text
    required = [
        compare("bits per character, absorbing against uniform",
                text["absorbing"], text["uniform"], "smaller", "window"),
        compare("bits per character, absorbing with a quarter of the steps against uniform with all",
                text["absorbing at a quarter"], text["uniform"], "smaller", "window"),
    ]  # fmt: skip
    others = [
        compare("bits per character, absorbing against a quarter of its steps",
                text["absorbing"], text["absorbing at a quarter"], "smaller", "window"),
        compare(f"bits per character, absorbing against {figures.order}-grams",
                text["absorbing"], [figures.ngram], "smaller", "window"),
    ]  # fmt: skip
    outcome = Outcome(
        "d3pm",
        D3PM.paper.claim,
        "; ".join(str(c) for c in [*required, *others]),
        verdict(required),
        {
            "bits_per_character": figures.means(text),
            "ngram": {"order": figures.order, "bits_per_character": figures.mean(figures.ngram)},
            "unigram": {"bits_per_character": figures.mean(figures.unigram)},
            "comparisons": {c.what: c.to_dict() for c in [*required, *others]},
        },
        {"effort": task.effort, "seeds": list(figures.seeds)},
    )
    show(task.page, figures, outcome, asdict(replace(TEXT, training=setting.text)))
    return outcome
