"""Does averaging masks of one network help, and does their variance show where they are wrong? (Wolleb et al.
2022, sec. 3)"""

from __future__ import annotations

from dataclasses import asdict, replace

from headwater.claims.base import Outcome, Task
from headwater.claims.mask_ensembles import COUNTS, PLAIN, Setting, conclude, measure, show
from headwater.claims.segdiff import plain, training
from headwater.methods.segmentation.implicit_ensembles import ImplicitEnsembles

OURS = "implicit ensemble"
CLAIM = (
    "Nine masks averaged segment better than one; the variance of the masks predicts the error; the average "
    "beats a plain network trained as long."
)

SMALL = ImplicitEnsembles(
    samples=max(COUNTS), steps=10, mirror=True,
    channels=32, channel_mult=(1, 2, 2), res_blocks=1, attention=(4,),
)  # fmt: skip

QUICK = Setting(side=16, pictures=24, seeds=1, plain=plain(200))
FULL = Setting(side=24, pictures=60, seeds=99, plain=plain(1200))
"""A step takes as long as one of the baseline."""


def reproduce(task: Task) -> Outcome:
    """Train the arms on the same pictures per seed, and measure them on the test split."""
    quick = task.effort == "quick"
    setting, ours = QUICK if quick else FULL, replace(SMALL, training=training(200 if quick else 1200))
    arms, test, truth, masks = measure(task, setting, {OURS: ours})
    answer = conclude(task, "implicit-ensembles", OURS, CLAIM, arms, (PLAIN,))
    settings = {**asdict(ours), "side": setting.side, "seeds": answer.settings["seeds"]}
    title = "Implicit ensembles: many masks of one network"
    show(task.page, title, OURS, arms, test, truth, masks, answer, settings)
    return answer
