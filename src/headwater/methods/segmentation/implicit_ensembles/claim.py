"""Does averaging masks of one network help, and does their variance show where they are wrong? (Wolleb et al.
2022, sec. 3)"""

from __future__ import annotations

from dataclasses import asdict

from headwater.experiments.base import Outcome, Task
from headwater.methods.segmentation.shared.mask_claim import Setting, conclude, measure
from headwater.methods.segmentation.shared.mask_claim_networks import IMPLICIT, SIDE, UPDATES, arm
from headwater.methods.segmentation.shared.mask_claim_page import show

CLAIM = (
    "Nine masks averaged segment better than one; the variance of the masks predicts the error; the average "
    "beats a plain network trained as long."
)

QUICK = Setting((IMPLICIT,), 200, SIDE, pictures=24, seeds=1)
FULL = Setting((IMPLICIT,), UPDATES, SIDE, pictures=60, seeds=99)


def reproduce(task: Task) -> Outcome:
    """Train the arms on the same pictures per seed, or load them, and measure them on the test split."""
    setting = QUICK if task.effort == "quick" else FULL
    found = measure(task, setting)
    answer = conclude(task, "implicit-ensembles", CLAIM, found.arms)
    settings = asdict(arm(setting.arms[0], setting.updates))
    show(task.page, "Implicit ensembles: many masks of one network", found, answer, settings)
    return answer
