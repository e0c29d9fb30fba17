"""Are vessels segmented without a label, and does the diffusion help, also under noise? (Kim et al. 2023)

Shipped photographs, grey, of half the contrast and 64 x 64 pixels, are backgrounds; angiograms are others of
them behind curves that absorb light (`angiograms`), so that the truth is known. 180 training photographs are
seen without vessels, 180 others with. The method learns shapes from its own trees, which are of other
statistics. Held-out photographs with vessels are segmented as they are and with white noise of 10, 25 and 50
of 255. Arms: DARL; the same generator, discriminators, trees and number of updates without the diffusion,
which sees clean pictures alone in training, the paper's ablation; Otsu's threshold of each picture; Frangi's
filter with Otsu's threshold of its answer; and the same filter with the threshold of best Dice on the
training angiograms, whose truth this arm alone is shown.

Required, beyond chance over held-out pictures: without noise, the Dice of DARL is above those of Otsu, of
Frangi and of the generator without diffusion; and from no noise to 50 of 255 it falls by less than that of
the generator without diffusion. Reported beside: the Dice at every noise, and that against the threshold
which labels chose.

The rule was written before any figure of a held-out picture was seen. The recipe was chosen by the masks of
training pictures and their truth. It was run twice before: after 380 updates with the published weights,
which was no test, for nothing had learnt its task; and with trees that filled a quarter of a place, as full
as masks then were. The photographs are the same as then, the vessels before them new. How long networks are
trained was set by what a busy machine allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwater.baselines.vessels import frangi, otsu
from headwater.experiments.comparison import Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.catalogue import METHODS
from headwater.methods.segmentation.darl.angiograms import angiograms, backgrounds, noisy
from headwater.methods.segmentation.darl.method import DARL, FittedDARL
from headwater.metrics.segmentation import dice

OURS, PLAIN, OTSU, FRANGI = "DARL", "without diffusion", "Otsu", "Frangi"
LABELLED = "Frangi, threshold by labels"
DICE, FALL = "Dice", "fall of Dice"
NOISES = (0, 10, 25, 50)
"""Standard deviations of the noise, of 255."""
SHIPPED = "darl-vessels"
LEARNT = 180
"""Training photographs with vessels; as many others have none."""
SCALES = (1.0, 1.5, 2.0)
"""Of Frangi's filter, in pixels."""

Segments = Callable[[Tensor], Tensor]
"""Pictures (B, 1, H, W) -> where vessels are, bool."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    updates: int
    """Of each network."""
    pictures: int
    """Held-out pictures of each seed, of other photographs than those of the other seeds."""
    learnt: int = LEARNT
    shipped: bool = False
    """Train nothing: compare the network that ships with the thresholds."""


def method(updates: int) -> DARL:
    """The recipe for small machines, trained for so long."""
    small: DARL = METHODS["darl"].configured("small")
    return replace(small, training=replace(small.training, steps=updates))


def fitted(name: str, settings: Settings, trial: Trial) -> FittedDARL:
    """The network of an arm."""
    known = backgrounds("train")
    image, background = angiograms(known[: settings.learnt], 0)[0], known[LEARNT : LEARNT + settings.learnt]
    chosen = replace(method(settings.updates), diffusion=name == OURS)
    return trial.train(name, lambda run: chosen.fit(image, background, **run))


def measure(settings: Settings, trial: Trial) -> None:
    """Train, segment under every noise, and compare."""
    known = backgrounds("test").roll(-settings.pictures * trial.index, 0)[: settings.pictures]
    image, truth = angiograms(known, 3000 + trial.seed)
    if settings.shipped:
        networks = {OURS: FittedDARL.from_pretrained(SHIPPED)}
    else:
        networks = {name: fitted(name, settings, trial) for name in (OURS, PLAIN)}
    threshold = trial.once("Frangi's threshold", lambda: best_threshold(settings.learnt))

    def segmenting(network: FittedDARL) -> Segments:
        return lambda x: method(1).apply(x, network, **trial.run()).mask

    arms: dict[str, Segments] = {name: segmenting(network) for name, network in networks.items()}
    arms |= {
        OTSU: lambda x: x <= otsu(x).reshape(-1, 1, 1, 1),
        FRANGI: lambda x: (found := frangi(x, SCALES)) > otsu(found).reshape(-1, 1, 1, 1),
        LABELLED: lambda x: frangi(x, SCALES) > threshold,
    }
    shown: dict[str, list[Tensor]] = {"angiogram": [], "truth": [], **{name: [] for name in arms}}
    for sigma in NOISES:
        seen = noisy(image, sigma, trial.seed)
        for name, segment in arms.items():
            mask = segment(seen)
            trial.found.add(DICE, name, dice(mask, truth), str(sigma))
            shown[name] += list(mask[:3].float() * 2 - 1)
        shown["angiogram"] += list(seen[:3].clamp(-1, 1))
        shown["truth"] += list(truth[:3].float() * 2 - 1)
    for name in arms:
        clean, worst = (torch.tensor(trial.found.values[DICE][name][str(sigma)]) for sigma in (0, 50))
        trial.found.add(FALL, name, clean - worst)
    rows = [[column[k] for column in shown.values()] for k in range(len(shown["truth"]))]
    few = (
        f"The first held-out pictures of the first seed, with noise of {', '.join(map(str, NOISES))} of 255."
    )
    trial.section.pictures(list(shown), rows, caption=few)


def best_threshold(learnt: int) -> float:
    """That of Frangi's filter with the best Dice on training angiograms."""
    image, truth = angiograms(backgrounds("train")[:learnt], 0)
    found, tried = frangi(image, SCALES), torch.linspace(0.02, 0.9, 45)
    return float(tried[torch.stack([dice(found > t, truth).mean() for t in tried]).argmax()])


def rule(results: Results[Settings]) -> list[Condition]:
    """The rule at the head of this file."""
    found: list[Condition] = []
    others = [name for name in (OTSU, FRANGI, PLAIN, LABELLED) if name in results.arms(DICE)]
    for other in others:
        what = f"Dice without noise, against {other}"
        found.append(results.compare(what, (DICE, OURS, "0"), (DICE, other, "0"), other != LABELLED))
    return found + (results.against(FALL, OURS, PLAIN) if PLAIN in others else [])


CLAIM = Claim(
    "darl",
    "Vessels without labels: DARL",
    "Photographs behind curves that absorb light, segmented by what learnt without a label: from such "
    "pictures, from others and from drawn trees.",
    unit="picture",
    tiny=Settings(2, 2, 4),
    quick=Settings(0, 26, shipped=True),
    full=Settings(500, 26),
    measures={
        DICE: Measure("larger", "Under white noise of so many of 255.", axis="noise, of 255"),
        FALL: Measure("smaller", "From no noise to 50 of 255."),
    },
    measure=measure,
    rule=rule,
    new_units=True,
    quick_seeds=1,
    quick_proves=False,
)
