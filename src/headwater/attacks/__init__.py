"""Attacks on classifiers of pictures in [0, 1], random defences included, and the report on all of them."""

from headwater.attacks.ascent import APGD, PGD
from headwater.attacks.certify import certify
from headwater.attacks.gradient import Defended, Seeded
from headwater.attacks.report import Effort, Report
from headwater.attacks.search import Restarts, Square, strong_attacks
from headwater.attacks.suite import Attack, effort_curve, suite, usual_attacks
from headwater.attacks.threat import Threat
from headwater.attacks.transfer import Transfer

__all__ = [
    "APGD", "PGD", "Attack", "Defended", "Effort", "Report", "Restarts", "Seeded", "Square", "Threat",
    "Transfer", "certify", "effort_curve", "strong_attacks", "suite", "usual_attacks",
]  # fmt: skip
