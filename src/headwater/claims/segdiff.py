"""Does averaging masks help, does summing features beat concatenating the picture, and does all that beat a
plain network trained for as long? (Amit et al. 2021, sec. 4 and its ablations)"""

from __future__ import annotations

from dataclasses import asdict, replace

from headwater.claims.base import Outcome, Task
from headwater.claims.mask_ensembles import COUNTS, PLAIN, Setting, conclude, measure, show
from headwater.methods.segmentation.segdiff import SegDiff
from headwater.methods.segmentation.supervised import SupervisedUNet
from headwater.train.optimisation import Optimisation

SUM, CONCATENATED = "SegDiff", "SegDiff, picture concatenated"
CLAIM = (
    "Nine masks averaged segment better than one; the variance of the masks predicts the error; adding the "
    "picture's features beats concatenating the picture; the average beats a plain network trained as long."
)

SMALL = SegDiff(
    samples=max(COUNTS), steps=10, clip=(-1, 1), variance="small",
    encoder_blocks=1, encoder_width=32, encoder_growth=16,
    channels=32, channel_mult=(1, 2, 2), res_blocks=1, attention=(4,), heads=1,
)  # fmt: skip
"""Ten steps with the posterior's variance, masks kept in range: what minutes of training allow."""


def training(steps: int) -> Optimisation:
    """Batches of 16 with a rate that falls to 0, weights averaged."""
    return Optimisation(steps, 16, 2e-3, warmup=steps // 20, decay="cosine", ema=0.99)


def plain(steps: int) -> SupervisedUNet:
    """The baseline, its pictures mirrored like the method's and changed in no other way."""
    return SupervisedUNet(steps, batch=16, lr=1e-3, shift=0, hue=False)


QUICK = Setting(side=16, pictures=24, seeds=1, plain=plain(260))
FULL = Setting(side=24, pictures=60, seeds=99, plain=plain(1000))
"""A step of SegDiff takes 1.6 to 1.7 times as long as one of the baseline, which gets as many more."""


def reproduce(task: Task) -> Outcome:
    """Train the three arms on the same pictures per seed, and measure them on the test split."""
    quick = task.effort == "quick"
    setting, ours = QUICK if quick else FULL, replace(SMALL, training=training(160 if quick else 600))
    arms, test, truth, masks = measure(
        task, setting, {SUM: ours, CONCATENATED: replace(ours, condition="concatenate")}
    )
    answer = conclude(task, "segdiff", SUM, CLAIM, arms, (CONCATENATED, PLAIN))
    settings = {**asdict(ours), "side": setting.side, "seeds": answer.settings["seeds"]}
    show(task.page, "SegDiff: masks drawn from noise", SUM, arms, test, truth, masks, answer, settings)
    return answer
