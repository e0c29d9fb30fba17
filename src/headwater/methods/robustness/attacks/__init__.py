"""Attacks on classifiers of pictures in [0, 1], random defences included, and the report on all of them."""

from headwater.methods.robustness.attacks.apgd import APGD
from headwater.methods.robustness.attacks.gradient import Defended, Seeded
from headwater.methods.robustness.attacks.pgd import PGD
from headwater.methods.robustness.attacks.report import Report
from headwater.methods.robustness.attacks.suite import Attack, suite, usual_attacks
from headwater.methods.robustness.attacks.threat import Threat

__all__ = ["APGD", "PGD", "Attack", "Defended", "Report", "Seeded", "Threat", "suite", "usual_attacks"]
