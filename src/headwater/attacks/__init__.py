"""Attacks on classifiers of pictures in [0, 1], random defences included, and the report on all of them."""

from headwater.attacks.ascent import APGD, PGD
from headwater.attacks.gradient import Defended, Seeded
from headwater.attacks.report import Report
from headwater.attacks.suite import Attack, suite, usual_attacks
from headwater.attacks.threat import Threat

__all__ = ["APGD", "PGD", "Attack", "Defended", "Report", "Seeded", "Threat", "suite", "usual_attacks"]
