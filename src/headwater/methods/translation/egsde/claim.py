"""Does EGSDE translate more realistically than SDEdit at equal likeness? (Zhao et al. 2022, sec. 5)

Held-out Fluent emoji become Noto emoji. The prior is the shipped one, which knows both styles, trained
further in the run on Noto's training pictures alone. The classifier behind the energy sees one half of the
training pictures of both styles; the judge, another network with another seed, the other half. Realism is the
probability of Noto by the judge, likeness PSNR to the source. A sceptic would noise more with SDEdit, which
is drawn at several levels, or guide it by the same classifier's log probability of Noto, as usual, by itself
or in place of the energy of realism.

Required, beyond chance over pictures: from SDEdit's lowest level to its highest, realism rises and likeness
falls; at the level of EGSDE, the weight of realism alone is more realistic than SDEdit, and that of
faithfulness alone more like the source; with both, pictures are more realistic than SDEdit's at the same mean
likeness, interpolated picture by picture between the two levels about it. The other arms at their likeness,
PSNR to the Noto emoji of the same name, and Frechet distances to held-out Noto emoji in the judge's features
are reported beside. The rule was written before any result; the two arms of guidance with faithfulness were
added after the smallest setting had scored two held-out pictures. Weights are the paper's own; the level and
the guidance's scale, of 2 and 10, were chosen on twelve training pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headwater.core import Control
from headwater.core.guidance import ClassifierMean
from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial, Values
from headwater.methods.translation.egsde.method import EGSDE, DomainClassifier, Energies
from headwater.methods.translation.sdedit.method import SDEdit
from headwater.methods.translation.shared.claim_distances import distances, show_distances
from headwater.metrics.classifier import Classifier, accuracy, flip, predict, train_classifier
from headwater.metrics.frechet import frechet_distance
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.operators import LowPass
from headwater.report import Section
from headwater.sampling import Batch, Run
from headwater.training import RECIPES, Recipe, TrainerConfig, train
from headwater.training.pictures import Pictures
from headwater.training.prior import Learner

SDEDIT, OURS = "SDEdit", "EGSDE"
REAL, FAITHFUL = "realism alone", "faithfulness alone"
GUIDED, BOTH = "classifier guidance", "classifier guidance and faithfulness"
SIDE = 32


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """Sources per seed."""
    prior_steps: int
    """Optimiser steps that the prior of Noto is trained further."""
    epochs: int
    """Of the judge."""
    levels: tuple[int, ...]
    """Of SDEdit."""
    guidance: float
    """Scale of the classifier's log probability."""
    method: EGSDE


@dataclass(frozen=True, eq=False)
class Emoji:
    """Fluent and Noto, (0, 1), as the networks and the test may see them."""

    energy: tuple[Tensor, Tensor]
    judge: tuple[Tensor, Tensor]
    """The other half of the training pictures."""
    sources: Tensor
    """Held-out Fluent emoji, in an order of their own."""
    partners: Tensor
    """The Noto emoji of the same names."""

    @classmethod
    def read(cls) -> Emoji:
        """Names of one split are in no other, whatever the style."""
        seen, unseen = load("emoji", "train", SIDE), load("emoji", "test", SIDE)
        halves = []
        assert seen.labels is not None
        assert unseen.labels is not None
        assert unseen.names is not None
        for style in (0, 1):
            images = seen.images[seen.labels == style]
            mixed = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(style))]
            halves.append(mixed.chunk(2))
        fluent, noto = (
            {unseen.names[i]: unseen.images[i] for i in torch.where(unseen.labels == style)[0].tolist()}
            for style in (0, 1)
        )
        names = sorted(set(fluent) & set(noto))
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
        pairs = [torch.stack([style[names[i]] for i in order]) for style in (fluent, noto)]
        (a, b), (c, d) = halves
        return cls((a, c), (b, d), pairs[0], pairs[1])


def noto_prior(emoji: Emoji, steps: int, run: Run) -> Prior:
    """The shipped prior, trained further on Noto alone."""
    images = torch.cat([emoji.energy[1], emoji.judge[1]])
    training = TrainerConfig(steps, 32, 5e-4, warmup=steps // 10, decay="cosine", grad_clip=1.0, ema=0.98)
    recipe = replace(Recipe.load(RECIPES / "emoji.yaml"), training=training)
    learner = Learner.of(recipe, Pictures(images))
    learner.prior.network.load_state_dict(Prior.from_pretrained("emoji").network.state_dict())
    return learner.result(train(learner.prior.network, learner.loss, len(images), training, run), 0.0)


def judge_of(emoji: Emoji, epochs: int) -> tuple[Classifier, float]:
    """Who says how probably a picture is Noto, and how often that is right of held-out pictures."""
    styles = torch.arange(2).repeat_interleave(torch.tensor([len(half) for half in emoji.judge]))
    judge = train_classifier(torch.cat(emoji.judge), styles, seed=7, epochs=epochs, augment=flip)
    held_out = torch.cat([emoji.sources, emoji.partners])
    return judge, accuracy(judge, held_out, torch.arange(2).repeat_interleave(len(emoji.sources)))


def guided(
    method: EGSDE, prior: Prior, image: Tensor, fitted: DomainClassifier, scale: float, run: Run
) -> Tensor:
    """SDEdit whose steps move up the classifier's log probability of the target, as is usual, in place of the
    energy of realism; with that of faithfulness, where it has a weight."""
    low_pass = LowPass.of(method.factor, image.shape[-2:], "linear")

    def log_prob(x: Tensor, label: Tensor) -> Tensor:
        return fitted.network(x, label).log_softmax(1)[:, 1]

    def controls(source: Tensor, batch: Batch) -> list[Control]:
        found: list[Control] = [ClassifierMean(log_prob, scale)]
        if method.faithfulness:
            faithful = replace(method, realism=0.0)
            found.append(Energies(faithful, source, prior.process, batch.noise, fitted.features, low_pass))
        return found

    return SDEdit(method.level, method.steps).draw(prior, image, controls, run)


def arms(
    settings: Settings, prior: Prior, fitted: DomainClassifier, image: Tensor, run: Run
) -> dict[str, Callable[[], Tensor]]:
    """All but SDEdit, by name."""
    m = settings.method
    weights = {OURS: m, REAL: replace(m, faithfulness=0.0), FAITHFUL: replace(m, realism=0.0)}
    found: dict[str, Callable[[], Tensor]] = {
        name: lambda method=method: method.apply(prior, image, fitted, **run)
        for name, method in weights.items()
    }
    for name, method in ((GUIDED, weights[REAL]), (BOTH, m)):
        found[name] = lambda method=method: guided(method, prior, image, fitted, settings.guidance, run)
    return found


def measure(settings: Settings, trial: Trial) -> None:
    """Translate every source by every arm."""
    emoji = trial.once("emoji", Emoji.read)
    prior = trial.train("prior", lambda run: noto_prior(emoji, settings.prior_steps, run), trainings=1)
    fitted = trial.train(
        "classifier", lambda run: settings.method.fit(prior, *emoji.energy, **run), trainings=1
    )
    judge, right = trial.once("judge", lambda: judge_of(emoji, settings.epochs))
    n, run = settings.pictures, trial.run(16)
    rows = torch.arange(len(emoji.sources)).roll(-n * trial.index)
    source, partner, others = emoji.sources[rows[:n]], emoji.partners[rows[:n]], emoji.partners[rows[n:]]
    drawn = {
        f"{SDEDIT}, level {level}": SDEdit(level, settings.method.steps).apply(prior, source, **run)
        for level in settings.levels
    }
    drawn |= {name: arm() for name, arm in arms(settings, prior, fitted, source, run).items()}
    reference, distance = judge.features(others), dict[str, float]()
    for name, images in ({"source": source} | drawn | {"partner": partner}).items():
        arm, _, level = name.partition(", level ")
        shown = images.clamp(-1, 1)
        trial.found.add("realism", arm, predict(judge, shown)[:, 1], level)
        if name != "source":
            trial.found.add("likeness", arm, psnr(shown, source), level)
        if name != "partner":
            trial.found.add("nearness", arm, psnr(shown, partner), level)
        distance[name] = frechet_distance(judge.features(shown), reference)
    trial.found.samples["frechet"], trial.found.samples["right"] = distance, right
    columns = {"source": source, **drawn, "partner": partner}
    trial.section.pictures(
        {name: images[:8] for name, images in columns.items()}, caption="The first sources of the first seed."
    )


def at_likeness(results: Results[Settings], arm: str) -> tuple[str, Values]:
    """SDEdit's realism of every picture at an arm's mean likeness, and the levels that it lies between."""
    levels = [str(level) for level in results.settings.levels]
    curve = [results.mean("likeness", SDEDIT, level) for level in levels]
    wanted = results.mean("likeness", arm)
    low = max([i for i, likeness in enumerate(curve[:-1]) if likeness >= wanted], default=0)
    share = float(np.clip((curve[low] - wanted) / (curve[low] - curve[low + 1]), 0, 1))
    ends = [results.rows("realism", SDEDIT, levels[i]) for i in (low, low + 1)]
    return f"{levels[low]} to {levels[low + 1]}", (1 - share) * ends[0] + share * ends[1]


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    first, last = (str(results.settings.levels[i]) for i in (0, -1))
    same = str(results.settings.method.level)
    found = [
        results.compare(f"{name} from level {first} to {last}", (name, SDEDIT, b), (name, SDEDIT, a))
        for name, (a, b) in (("realism", (first, last)), ("likeness", (last, first)))
    ]
    for name, arm in (("realism", REAL), ("likeness", FAITHFUL)):
        found.append(results.compare(f"{name} of {arm} against {SDEDIT}", (name, arm), (name, SDEDIT, same)))
    for arm in (OURS, REAL, FAITHFUL, GUIDED, BOTH):
        between, values = at_likeness(results, arm)
        what = f"realism of {arm} against {SDEDIT} at its likeness (levels {between})"
        found.append(results.compare(what, ("realism", arm), values, required=arm == OURS))
    for name in ("realism", "likeness", "nearness"):
        found += results.against(name, OURS, BOTH, required=False)
    return found


def show(section: Section, results: Results[Settings]) -> None:
    """What the judge's features say, and how good the judge is."""
    show_distances(
        section,
        results,
        f"Of {results.settings.pictures} pictures a seed to all other held-out Noto emoji, in the judge's "
        f"features. The judge tells {results.first['right']:.1%} of held-out pictures rightly.",
    )


METHOD = EGSDE(
    level=700,
    steps=25,
    factor=4,
    network=UNetArchitecture(32, (1, 2, 2), 1, (4,), num_head_channels=32),
    begin="prior",
    training=TrainerConfig(120, 32, 1e-3, warmup=6, decay="cosine", weight_decay=0.05),
)
CLAIM = Claim(
    "egsde",
    "Emoji of one style into another: EGSDE",
    "Held-out Fluent emoji, noised and denoised by a prior of Noto emoji, without any pair in training.",
    unit="picture",
    tiny=Settings(2, 2, 1, (500, 700), 10.0, replace(METHOD, steps=20, training=TrainerConfig(2, 4))),
    quick=Settings(
        6, 12, 4, (500, 700, 900), 10.0, replace(METHOD, steps=20, training=TrainerConfig(20, 16, 1e-3))
    ),
    full=Settings(24, 150, 12, (300, 500, 700, 900), 10.0, METHOD),
    measures={
        "realism": Measure("larger", "Probability of being Noto, by the judge.", axis="level"),
        "likeness": Measure("larger", "PSNR to the source, in dB.", axis="level"),
        "nearness": Measure("larger", "PSNR to the Noto emoji of the same name, in dB.", axis="level"),
    },
    measure=measure,
    rule=rule,
    show=show,
    extra=lambda results: {"frechet": distances(results), "judge": results.first["right"]},
    new_units=True,
    quick_seeds=1,
    quick_proves=False,
)
