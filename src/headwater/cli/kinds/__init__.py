"""Reading, writing and showing the inputs and outputs of methods: one family per kind of file."""

from __future__ import annotations

from headwater.cli.kinds.family import Family, Items, Request
from headwater.cli.kinds.kspace import Kspace, Magnitude
from headwater.cli.kinds.pictures import Images, Labels, Maps, Masks, Measured
from headwater.cli.kinds.scores import Scores
from headwater.cli.kinds.series import SeriesFiles
from headwater.cli.kinds.texts import Texts

FAMILIES: dict[str, Family] = {
    "images": Images(),
    "measured": Measured(),
    "mask": Masks(),
    "labels": Labels(),
    "map": Maps(),
    "scores": Scores(),
    "texts": Texts(),
    "series": SeriesFiles(),
    "kspace": Kspace(),
    "magnitude": Magnitude(),
}
"""Every `Kind` of headwater.methods.base by its name."""

__all__ = ["FAMILIES", "Family", "Items", "Request"]
