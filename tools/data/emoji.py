"""emoji: Fluent (flat) and Noto drawings on white, without skin-tone variants, named in words.

The same name in both styles is the same concept, so the two files are paired domains.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np

from .pack import Pack, text
from .render import render, shrink
from .sources import Sources

SIZE = 64
PACKAGES = {
    "fluent": ("@iconify-json/fluent-emoji-flat", "1.2.6"),
    "noto": ("@iconify-json/noto", "1.2.9"),
}
TONE = re.compile(r"-(light|medium-light|medium|medium-dark|dark)(-skin-tone.*)?$")
GENDER = re.compile(r"\b(man|men|woman|women|boy|girl|person|people|mrs|prince|princess)\b-?")


def build(sources: Sources) -> Pack:
    files, counts = {}, {"train": 0, "test": 0}
    for style, (package, version) in PACKAGES.items():
        bodies = _bodies(sources.npm(package, version) / "icons.json")
        names = sorted(bodies)
        test = np.array([_is_test(name) for name in names])
        images = [shrink(render(bodies[name], SIZE * 4), 4) for name in names]
        files[f"emoji-{style}"] = {
            "images": np.stack(images),
            "names": text([name.replace("-", " ") for name in names]),
            "test": test,
        }
        counts["train"] += int((~test).sum())
        counts["test"] += int(test.sum())
    return Pack(
        name="emoji",
        files=files,
        licence="MIT (emoji-fluent), Apache-2.0 (emoji-noto)",
        sources=[
            {"package": package, "version": version, "index": "npm"} for package, version in PACKAGES.values()
        ],
        about={
            "content": "64x64 RGB drawings on white in two styles, captions in words",
            "classes": list(PACKAGES),
            "splits": counts,
            "split_by": "concept: gender variants and both styles of a name stay together",
            "changes": "rendered from SVG at 64x64 on white",
        },
    )


def _bodies(path: Path) -> dict[str, str]:
    """SVG text of every visible icon that is no skin-tone variant of another."""
    data = json.loads(path.read_text())
    icons = data["icons"]
    found = {}
    for name, icon in icons.items():
        toned = "skin-tone" in name or (TONE.search(name) and TONE.sub("", name) in icons)
        if toned or icon.get("hidden"):
            continue
        w, h = icon.get("width", data["width"]), icon.get("height", data["height"])
        side = max(w, h)
        found[name] = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            f' viewBox="{(w - side) / 2} {(h - side) / 2} {side} {side}">{icon["body"]}</svg>'
        )
    return found


def _is_test(name: str) -> bool:
    """A tenth of the concepts, by a checksum of the name without its gender."""
    concept = GENDER.sub("", name).strip("-") or "person"
    return zlib.crc32(concept.encode()) % 10 == 0
