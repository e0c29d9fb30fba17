"""emoji-parts: OpenMoji people with exact part maps read off the layers of the drawings.

A drawing keeps its hair, skin, clothes and outline in separate layers. Every layer is recoloured
flat, rendered without anti-aliasing at 8x, and each of the 64x64 cells takes the label that
covers most of it. The picture is the area average of an anti-aliased rendering at 4x.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

from .pack import Pack, text
from .render import render, shrink
from .sources import Sources

CLASSES = ["background", "object", "skin", "hair", "line"]
LAYERS = {
    "color": 1,
    "color-foreground": 1,
    "skin": 2,
    "skin-shadow": 2,
    "hair": 3,
    "line": 4,
    "line-supplement": 4,
}
SIZE = 64
# Order of the flat colours is the order of CLASSES; they are far apart, so that exact match works.
FLAT = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]], dtype=np.uint8)
SVG = "http://www.w3.org/2000/svg"
# Pairs of a gendered or aged word and the word that it shares a drawing with.
SAME = {
    "prince": "royal",
    "princess": "royal",
    "boy": "person",
    "girl": "person",
    "child": "person",
    "man": "person",
    "woman": "person",
    "men": "people",
    "women": "people",
    "santa claus": "claus",
    "mrs. claus": "claus",
    "mx claus": "claus",
    "old man": "older person",
    "old woman": "older person",
}


def build(sources: Sources) -> Pack:
    folder = sources.npm("openmoji", "17.0.0")
    table = json.loads((folder / "data/openmoji.json").read_text())
    images, parts, names, bases = [], [], [], []
    for row in sorted(filter(_wanted, table), key=lambda row: row["hexcode"]):
        found = _drawing(folder / "color/svg" / f"{row['hexcode']}.svg")
        if found is None:
            continue
        images.append(found[0])
        parts.append(found[1])
        names.append(row["annotation"])
        bases.append(base(row["annotation"]))
    split = _split(bases)
    counts = {name: int((split == i).sum()) for i, name in enumerate(("train", "pool", "test"))}
    return Pack(
        name="emoji-parts",
        files={
            "emoji-parts": {
                "images": np.stack(images),
                "labels": np.stack(parts),
                "names": text(names),
                "bases": text(bases),
                "split": split,
            }
        },
        licence="CC-BY-SA-4.0",
        sources=[{"package": "openmoji", "version": "17.0.0", "index": "npm"}],
        about={
            "content": "64x64 RGB people with part maps; train has no use for its labels",
            "classes": CLASSES,
            "splits": counts,
            "split_by": "base emoji: hair, skin-tone and gender variants stay together",
            "changes": "rendered from SVG at 64x64; layers turned into label maps",
        },
    )


def base(annotation: str) -> str:
    """The concept of an emoji without skin tone, hair, age and gender."""
    words = re.sub(r":.*", "", annotation.lower()).strip()
    words = SAME.get(words, words)
    words = re.sub(r"\b(man|woman|boy|girl)\b", "person", words)
    words = re.sub(r"\b(men|women)\b", "people", words)
    words = re.sub(r"^(person|people)\s+(?=\S)", "", words)
    return words or "person"


def _wanted(row: dict[str, Any]) -> bool:
    if row["group"] != "people-body":
        return False
    # Pairs with two different skin tones would outnumber everything else.
    return row["skintone_combination"] != "multiple" or len({*str(row["skintone"]).split(",")}) == 1


def _drawing(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Picture (64, 64, 3) and labels (64, 64) of a drawing that has both hair and skin."""
    root = ET.parse(path).getroot()
    filled = {layer.get("id") for layer in root if len(list(layer.iter())) > 1}
    if not {"hair", "skin"} <= filled or not filled <= set(LAYERS):
        return None
    picture = shrink(render(path.read_text(), SIZE * 4), 4)
    for layer in root:
        _paint(layer, _hex(LAYERS[layer.get("id", "")]) if layer.get("id") in LAYERS else "none")
    ET.register_namespace("", SVG)
    flat = render(ET.tostring(root, encoding="unicode"), SIZE * 8, crisp=True)
    votes = np.stack([(flat == colour).all(-1) for colour in FLAT])
    if not votes.any(0).all():
        raise ValueError(f"{path.name} has colours between the flat ones")
    cells = votes.reshape(len(CLASSES), SIZE, 8, SIZE, 8).sum(axis=(2, 4))
    # argmax of the reversed counts: a tie goes to the later class, the thinner structure.
    labels = len(CLASSES) - 1 - cells[::-1].argmax(0)
    return picture, labels.astype(np.uint8)


def _paint(layer: ET.Element, colour: str) -> None:
    for element in layer.iter():
        if element.get("fill") not in (None, "none"):
            element.set("fill", colour)
        if element.get("stroke") not in (None, "none"):
            element.set("stroke", colour)
    # SVG fills black where nothing is said; the layer's own fill is inherited instead.
    if layer.get("fill") is None:
        layer.set("fill", colour)


def _hex(label: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*FLAT[label])


def _split(bases: list[str]) -> np.ndarray:
    """0 train, 1 labelled pool, 2 test: bases drawn from a fixed seed, 60/20/20 per cent.

    The plain `person` has more variants than any other and always goes to train.
    """
    unique = sorted(set(bases) - {"person"})
    order = np.random.default_rng(2017).permutation(len(unique))
    fifth = len(unique) // 5
    role = {unique[i]: 1 if rank < fifth else 2 for rank, i in enumerate(order[: 2 * fifth])}
    return np.array([role.get(name, 0) for name in bases], dtype=np.uint8)
