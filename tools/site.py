"""A hook of MkDocs: the page of a method is the README.md of its room, shown as methods/NAME.md; that of a
chapter's comparison is the README.md of its folder.

Links of a room lead to files of the repository; on the site they lead to the pages of the site.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))  # the catalogue needs no more than that: no torch, no installation

from headwater.methods.catalogue import METHODS, TABLES  # noqa: E402

ROOMS = {name: entry.folder for name, entry in METHODS.items()}
ROOMS |= {t.chapter: ROOT / "src" / "headwater" / "methods" / t.chapter for t in TABLES.values()}

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the page of every method."""
    from mkdocs.structure.files import File

    for name, folder in ROOMS.items():
        text = (folder / "README.md").read_text(encoding="utf-8")
        files.append(File.generated(config, f"methods/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links between the rooms and docs/ lead to pages of the site."""
    place = page.file.src_uri
    name = place.removeprefix("methods/").removesuffix(".md")
    inside = place.startswith("methods/")
    folder = ROOMS[name] if inside else (ROOT / "docs" / place).parent

    def led(match: re.Match[str]) -> str:
        target = (folder / match[1]).resolve()
        for other, room in ROOMS.items():
            if target == room / "README.md":
                return f"]({os.path.relpath(f'methods/{other}.md', Path(place).parent)}"
        if target.is_relative_to(ROOT / "docs"):
            found = target.relative_to(ROOT / "docs").as_posix()
            return f"]({os.path.relpath(found, Path(place).parent)}"
        return match[0]

    return LINK.sub(led, markdown)
