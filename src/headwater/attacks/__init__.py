"""Attacks on classifiers of pictures in [0, 1], random defences included, and the report on all of them."""

from headwater.attacks.ascent import APGD, PGD
from headwater.attacks.certify import certify
from headwater.attacks.gradient import Defended, Seeded
from headwater.attacks.report import Report
from headwater.attacks.suite import Attack, suite, usual_attacks
from headwater.attacks.threat import Threat
from headwater.attacks.transfer import Transfer

__all__ = [
    "APGD", "PGD", "Attack", "Defended", "Report", "Seeded", "Threat", "Transfer", "certify", "suite",
    "usual_attacks",
]  # fmt: skip
