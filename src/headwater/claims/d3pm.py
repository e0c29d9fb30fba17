"""Does it matter which states turn into which? (Austin et al. 2021, tables 1 and 3)

Verdict, fixed before any run: held if, beyond chance, (a) masking needs fewer bits per character than uniform
replacement, (b) it still does with a quarter of the steps against uniform with all, and (c) on pictures the
Gaussian chain needs fewer bits per value than the uniform one under the same hybrid loss; partly if some do.
The n-gram model is reported, not required: the paper makes no promise about it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace

from torch import Tensor

from headwater.claims.base import Outcome, Task
from headwater.claims.comparison import compare, verdict
from headwater.claims.d3pm_page import Figures, show
from headwater.data import load
from headwater.methods.synthesis.d3pm_images import D3PMImages
from headwater.methods.text.characters import Characters, stream_of
from headwater.methods.text.d3pm import D3PM
from headwater.metrics.ngram import best_order
from headwater.run import Run
from headwater.train.optimisation import Optimisation

T, LENGTH = 64, 64


@dataclass(frozen=True)
class Setting:
    """How much is computed."""

    seeds: int
    verses: int | None
    """Verses learnt from; None takes all."""
    text: Optimisation
    windows: int
    """Test windows of 64 characters."""
    images: Optimisation
    pictures: int
    """Test pictures."""
    extra: bool
    """Whether the arms that the claim does not need are trained too."""


def pace(steps: int, lr: float) -> Optimisation:
    """Batches of 32, a rate that falls to 0."""
    return Optimisation(steps, 32, lr, warmup=min(50, steps // 4), decay="cosine", grad_clip=1.0)


QUICK = Setting(1, 4000, pace(300, 4e-3), 48, pace(120, 2e-3), 48, extra=False)
FULL = Setting(99, None, pace(1500, 4e-3), 128, pace(800, 2e-3), 128, extra=True)

TEXT = D3PM(T=T, length=LENGTH, width=64, layers=2, heads=4, steps=T, levels=T)
IMAGES = D3PMImages(
    K=17, T=T, head="logits", width=32, multipliers=(1, 2), blocks=1, attention=(2,),
    dropout=0.0, flips=False, steps=T, levels=T,
)  # fmt: skip
"""A flipped digit is none."""


def text_arms(setting: Setting) -> dict[str, D3PM]:
    """The paper's weights of the cross entropy: 0.01 where the chain absorbs, 0 elsewhere."""
    base = replace(TEXT, training=setting.text)
    arms = {"absorbing": base, "uniform": replace(base, chain="uniform", auxiliary=0.0)}
    if setting.extra:
        arms["uniform, exact mixture"] = replace(arms["uniform"], mixture="exact")
        arms["nearest neighbour"] = replace(base, chain="nearest", auxiliary=0.0)
    return arms


def image_arms(setting: Setting) -> dict[str, D3PMImages]:
    """One loss for all."""
    base = replace(IMAGES, training=setting.images)
    arms = {"Gaussian": base, "uniform": replace(base, chain="uniform")}
    if setting.extra:
        arms["Gaussian, logistic head"] = replace(base, head="logistic")
    return arms


def plain_text(split: str, count: int | None = None) -> list[str]:
    """Verses of the King James Version in 26 letters and the space, like text8."""
    return [re.sub("[^a-z]+", " ", verse.lower()).strip() for verse in load("verses", split).source[:count]]


def reproduce(task: Task) -> Outcome:
    """Train the chains on verses and on 8 x 8 digits of 17 values, and compare their bounds on test data."""
    setting = QUICK if task.effort == "quick" else FULL
    seeds = task.seeds[: setting.seeds]
    figures = Figures(seeds=seeds, T=T)
    texts = plain_text("train", setting.verses)
    chains = text_arms(setting)
    held = windows_of(Characters.of(texts), "test", setting.windows)
    for seed in seeds:
        run = Run(seed, 32, progress=task.progress)
        for name, method in chains.items():
            fitted = method.fit(texts, run)
            test = [fitted.characters.decode(row) for row in held]
            for label, steps in (("", T), (" at a quarter", T // 4)):
                some = replace(method, steps=steps, levels=steps)
                bits = some.apply(test, fitted, run).bits
                figures.text.setdefault(name + label, []).append(bits.tolist())
            if seed == seeds[0]:
                figures.written[name] = method.write(4, fitted, run)
                figures.written[f"{name} at a quarter"] = replace(method, steps=T // 4).write(4, fitted, run)
            if seed == seeds[0] and name == "absorbing":
                holes = [re.sub("[a-z]", lambda m: m[0] if hash_of(m) % 2 else "_", t) for t in test[:4]]
                figures.completed = list(
                    zip(holes, method.apply(holes, fitted, run).written, test, strict=False)
                )
    characters = Characters.of(texts)
    stream, seen = stream_of(characters, texts).numpy(), windows_of(characters, "val", 200).numpy()
    model = best_order(stream, seen, len(characters))
    figures.ngram, figures.order = model.bits(held.numpy()).mean(1).tolist(), model.order
    figures.unigram = replace(model, order=1).bits(held.numpy()).mean(1).tolist()
    digits, drawn = load("tiny").images, load("tiny", "test").images[: setting.pictures]
    for seed in seeds:
        run = Run(seed, 32, progress=task.progress)
        for name, method in image_arms(setting).items():
            kept = method.fit(digits, run)
            figures.images.setdefault(name, []).append(method.bits(drawn, kept, run).tolist())
            if seed == seeds[0]:
                figures.drawn[name] = method.write(16, kept, run)
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
    """Compare by test window and test picture, each averaged over seeds."""
    text, images = figures.text, figures.images
    required = [
        compare("bits per character, absorbing against uniform",
                text["absorbing"], text["uniform"], "smaller", "window"),
        compare("bits per character, absorbing with a quarter of the steps against uniform with all",
                text["absorbing at a quarter"], text["uniform"], "smaller", "window"),
        compare("bits per value, Gaussian against uniform",
                images["Gaussian"], images["uniform"], "smaller", "picture"),
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
            "bits_per_value": figures.means(images),
            "ngram": {"order": figures.order, "bits_per_character": figures.mean(figures.ngram)},
            "unigram": {"bits_per_character": figures.mean(figures.unigram)},
            "comparisons": {c.what: c.to_dict() for c in [*required, *others]},
        },
        {"effort": task.effort, "seeds": list(figures.seeds)},
    )
    settings = {"text": asdict(replace(TEXT, training=setting.text)),
                "images": asdict(replace(IMAGES, training=setting.images))}  # fmt: skip
    show(task.page, figures, outcome, settings)
    return outcome
