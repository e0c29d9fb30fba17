"""Does averaging masks help, does summing features beat concatenating the picture, and does all that beat a
plain network trained for as long? (Amit et al. 2021, sec. 4 and its ablations)"""

from __future__ import annotations

from dataclasses import asdict

from headwater.experiments.base import Outcome, Task
from headwater.methods.segmentation.shared.mask_claim import Setting, conclude, measure
from headwater.methods.segmentation.shared.mask_claim_networks import CONCATENATED, SIDE, SUM, UPDATES, arm
from headwater.methods.segmentation.shared.mask_claim_page import show

CLAIM = (
    "Nine masks averaged segment better than one; the variance of the masks predicts the error; adding the "
    "picture's features beats concatenating the picture; the average beats a plain network trained as long."
)

QUICK = Setting((SUM,), UPDATES, SIDE, pictures=24, seeds=1, shipped=True)
FULL = Setting((SUM, CONCATENATED), UPDATES, SIDE, pictures=60, seeds=99)


def reproduce(task: Task) -> Outcome:
    """Train the arms on the same pictures per seed, or load them, and measure them on the test split."""
    setting = QUICK if task.effort == "quick" else FULL
    found = measure(task, setting)
    answer = conclude(task, "segdiff", CLAIM, found.arms)
    settings = asdict(arm(setting.arms[0], setting.updates))
    show(task.page, "SegDiff: masks drawn from noise", found, answer, settings)
    return answer
