"""What a method that heals pictures finds in them."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.methods.base import Images, Map, Scores


@dataclass(frozen=True, eq=False)
class Anomalies:
    """What was found, per picture."""

    map: Map
    """Squared difference from the healed picture, averaged over channels and reconstructions; 0 .. 4."""
    healed: Images
    """The mean reconstruction, (B, C, H, W) in [-1, 1]."""
    score: Scores
    """Mean of the highest hundredth of the map, (B,)."""


def against(image: Images, healed: Images) -> Anomalies:
    """The map and score of one reconstruction; both (B, C, H, W) in [-1, 1]."""
    maps = (image - healed).square().mean(1, keepdim=True)
    return Anomalies(maps, healed, image_score(maps))


def image_score(maps: Map) -> Scores:
    """Mean of the highest hundredth of each map (B, 1, H, W), (B,)."""
    flat = maps.flatten(1)
    return flat.topk(max(1, flat.shape[1] // 100), dim=1).values.mean(1)
