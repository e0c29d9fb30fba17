"""Reports: one self-contained HTML page per run, and the same numbers as JSON."""

from headwater.report.blocks import Claim, Note, Table, Text, Verdict
from headwater.report.chart import Axes, Series
from headwater.report.figures import Curve, Heatmap, Histogram
from headwater.report.gallery import ContactSheet, PictureCell, Pictures
from headwater.report.markup import Estimate, Interval, Share
from headwater.report.page import Page
from headwater.report.picture import Cell, Classes, Heat, Picture, Signed
from headwater.report.section import Section

DRAWN: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Text, Note, Table, Estimate, Interval, Share, Pictures, ContactSheet, PictureCell, Picture,
        Curve, Histogram, Heatmap, Axes, Series,
    )
}  # fmt: skip
"""What a section's own calls make, by name: all that a figure kept on disk may be made of."""

__all__ = [
    "DRAWN",
    "Cell",
    "Claim",
    "Classes",
    "Estimate",
    "Heat",
    "Interval",
    "Page",
    "Section",
    "Series",
    "Share",
    "Signed",
    "Verdict",
]
