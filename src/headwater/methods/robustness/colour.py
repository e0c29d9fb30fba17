"""The defences side by side once more, on small pictures in colour: the rule, the attacks and the settings of
the purifiers are those of table.py, and emoji of five concepts take the place of digits.

Written, and all of it chosen, before any figure was seen.
"""

from __future__ import annotations

from dataclasses import replace

from headwater.methods.robustness.table import CLAIM as GREY
from headwater.methods.robustness.table import TINY, Settings

CLAIM = replace(
    GREY,
    method="robustness-colour",
    title="Defences, side by side, in colour",
    lead="Purifiers in front of the same classifiers of emoji by five concepts, 16 x 16 in colour, "
    "attacked as those of digits are.",
    tiny=replace(TINY, data="emoji"),
    quick=Settings(
        pictures=16, tuning=16, steps=4, draws=2, votes=3, epochs=6, prior_steps=200, data="emoji"
    ),
    full=Settings(
        pictures=48, tuning=16, steps=8, draws=3, votes=5, epochs=15, prior_steps=1500, data="emoji"
    ),
)  # fmt: skip
