"""Reports: one self-contained HTML page per run, and the same numbers as JSON."""

from headwater.report.blocks import Claim, Verdict
from headwater.report.chart import Series
from headwater.report.markup import Estimate, Interval
from headwater.report.page import Page
from headwater.report.picture import Cell, Classes, Heat, Signed
from headwater.report.section import Section

__all__ = [
    "Cell",
    "Claim",
    "Classes",
    "Estimate",
    "Heat",
    "Interval",
    "Page",
    "Section",
    "Series",
    "Signed",
    "Verdict",
]
