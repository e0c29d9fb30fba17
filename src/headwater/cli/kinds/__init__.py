"""Reading, writing and showing the inputs and outputs of methods: one family per kind of file."""

from __future__ import annotations

from headwater.cli.kinds.draws import DrawsFiles
from headwater.cli.kinds.family import Family, Items, Request
from headwater.cli.kinds.features import Features
from headwater.cli.kinds.kspace import Complex, Kspace, Magnitude
from headwater.cli.kinds.pictures import Ids, Images, Labels, Maps, Masks, Measured
from headwater.cli.kinds.scores import Scores
from headwater.cli.kinds.series import SeriesFiles
from headwater.cli.kinds.texts import Texts

FAMILIES: dict[str, Family] = {
    "images": Images(),
    "measured": Measured(),
    "mask": Masks(),
    "labels": Labels(),
    "ids": Ids(),
    "map": Maps(),
    "scores": Scores(),
    "texts": Texts(),
    "series": SeriesFiles(),
    "draws": DrawsFiles(),
    "kspace": Kspace(),
    "maps": Kspace(),
    "complex": Complex(),
    "magnitude": Magnitude(),
    "features": Features(),
}
"""Every `Kind` of headwater.methods.base by its name."""

__all__ = ["FAMILIES", "Family", "Items", "Request"]
