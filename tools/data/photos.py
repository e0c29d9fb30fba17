"""photos: 64x64 crops at three scales from 17 photographs, split by photograph.

A photograph is shrunk until its shorter side has 64, 128 or 256 pixels and cut into tiles. Tiles
without detail are left out, since every restoration of a clear sky is perfect.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .pack import Pack, text
from .sources import Sources

SIZE = 64
SCALES = (64, 128, 256)
# Standard deviation of the gray values (0..255) below which a tile counts as empty.
DETAIL = 12.0
MOST = 30

# Photograph -> (author, licence, split). The share-alike ones go to a file of their own.
WALLPAPERS = {
    "Bridge_by_Sander_Klootwijk": ("Sander Klootwijk", "CC-BY-SA-4.0", "train"),
    "Dragonfly_by_Bolly": ("Bolly", "CC-BY-SA-4.0", "train"),
    "Picture_0B_by_freespace": ('Trevor "Freespace"', "CC-BY-4.0", "train"),
    "Picture_1A_by_freespace": ('Trevor "Freespace"', "CC-BY-4.0", "test"),
    "Wine_by_Jakkub_Mede": ("Jakub Mede", "CC-BY-4.0", "train"),
    "aitzgorri_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0", "train"),
    "free_by_Peter_Nerlich": ("Peter Nerlich", "CC-BY-SA-4.0", "train"),
    "friends_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0", "train"),
    "greentock_by_Peter_Nerlich": ("Peter Nerlich", "CC-BY-SA-4.0", "train"),
    "life_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0", "train"),
    "picosdeeuropa_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0", "test"),
    "seeding_by_Clements_Engelhardt": ("Clemens Engelhardt", "CC0-1.0", "train"),
    "sunset_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0", "train"),
}
SKIMAGE = {
    "astronaut.png": ("NASA", "public domain", "train"),
    "chelsea.png": ("Stefan van der Walt", "CC0-1.0", "train"),
    "coffee.png": ("Rachel Michetti", "CC0-1.0", "test"),
    "rocket.jpg": ("SpaceX", "public domain", "train"),
}


def build(sources: Sources) -> Pack:
    debian = sources.debian("lomiri-wallpapers-16.04", "20.04.0-2") / "usr/share/backgrounds"
    skimage = sources.wheel("scikit-image", "0.26.0") / "skimage/data"
    photographs = {debian / f"{name}.jpg": about for name, about in WALLPAPERS.items()}
    photographs |= {skimage / name: about for name, about in SKIMAGE.items()}
    files, counts = {}, {"train": 0, "test": 0}
    for stem, share_alike in (("photos", False), ("photos-sa", True)):
        images, names, test = [], [], []
        for path, (_, licence, split) in photographs.items():
            if ("-SA-" in licence) != share_alike:
                continue
            tiles = _tiles(path)
            images += tiles
            names += [path.stem] * len(tiles)
            test += [split == "test"] * len(tiles)
            counts[split] += len(tiles)
        files[stem] = {
            "images": np.stack(images),
            "names": text(names),
            "test": np.array(test),
        }
    return Pack(
        name="photos",
        files=files,
        licence="CC-BY-4.0, CC0-1.0, public domain (photos); CC-BY-SA-4.0 (photos-sa)",
        sources=[
            {"package": "lomiri-wallpapers-16.04", "version": "20.04.0-2", "index": "Debian"},
            {"package": "scikit-image", "version": "0.26.0", "index": "PyPI"},
        ],
        about={
            "content": "64x64 RGB crops at three scales from 17 photographs",
            "classes": [],
            "splits": counts,
            "split_by": "photograph (14 train, 3 test)",
            "changes": "shrunk and cropped",
            "photographs": {
                path.name: {"author": author, "licence": licence, "split": split}
                for path, (author, licence, split) in photographs.items()
            },
        },
    )


def _tiles(path: Path) -> list[np.ndarray]:
    photograph = Image.open(path).convert("RGB")
    short = min(photograph.size)
    found = []
    for scale in SCALES:
        w, h = (max(SIZE, round(side * scale / short)) for side in photograph.size)
        small = np.asarray(photograph.resize((w, h), Image.Resampling.BOX))
        for top in _starts(h):
            for left in _starts(w):
                tile = small[top : top + SIZE, left : left + SIZE]
                if tile.mean(-1).std() >= DETAIL:
                    found.append(tile)
    keep = np.random.default_rng(64).permutation(len(found))[:MOST]
    return [found[i] for i in sorted(keep)]


def _starts(length: int) -> list[int]:
    count = max(1, round(length / SIZE - 0.25))
    return np.rint(np.linspace(0, length - SIZE, count)).astype(int).tolist()
