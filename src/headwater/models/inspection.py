"""What a checkpoint is, from its headers: nothing in it is run and no weights are read into memory."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.atomic import verify
from headwater.errors import UserError, need
from headwater.gallery import find, run_folder
from headwater.models import diffusers, folder, layout, sources
from headwater.models.config import PriorConfig
from headwater.models.pretrained import Pretrained, settings
from headwater.models.prior import Prior
from headwater.models.published import (
    Published,
    as_fields,
    classifier_network,
    published_names,
    score_network,
)
from headwater.models.schema import build
from headwater.models.shards import file_hash, refuse_single, size
from headwater.models.state import contents


@dataclass(frozen=True)
class Report:
    """What `inspect` found. `str()` of it is what the command line prints."""

    path: str
    format: str
    """In words: "headwater prior", "diffusers folder", "guided-diffusion weights", "other weights" ..."""
    weights: str
    """The weights file itself."""
    container: str
    """"safetensors" or "torch"."""
    nest: str
    """The key under which the state dict lies in the file; empty at the top."""
    bytes: int
    """Size of the weights file."""
    sha256: str
    """Of the weights file."""
    tensors: int
    parameters: int
    dtypes: dict[str, int]
    """Number of tensors by type, e.g. {"float32": 120}."""
    network: dict[str, Any]
    """`kind` and fields of the architecture; empty when it is unknown."""
    config: Any
    """Everything else that is known or assumed: a `PriorConfig`, or the config of another kind; None when
    nothing can be read from the file."""
    remark: str
    """Why there is no prior here, or what was assumed."""
    published: tuple[str, ...] = ()
    """Published networks of this very structure."""

    def __str__(self) -> str:
        types = ", ".join(f"{n} {name}" for name, n in self.dtypes.items())
        nest = f", under {self.nest!r}" if self.nest else ""
        rows = {
            "path": self.path,
            "format": self.format,
            "weights": f"{self.container}, {self.bytes:,} bytes" + nest,
            "sha256": self.sha256,
            "tensors": f"{self.tensors} ({types}), {self.parameters:,} numbers",
            "network": ", ".join(f"{k}={v}" for k, v in self.network.items() if v is not None) or "unknown",
            "same as": ", ".join(self.published),
            "process": self._process() if isinstance(self.config, PriorConfig) else "",
            "settings": self._settings(),
            "remark": self.remark,
        }
        return "\n".join(f"{name:8} {value}" for name, value in rows.items() if value)

    def _settings(self) -> str:
        if self.config is None or isinstance(self.config, PriorConfig):
            return ""
        return ", ".join(f"{k}={v}" for k, v in settings(self.config).items())

    def _process(self) -> str:
        p, c = self.config.process, self.config
        size = "x".join(map(str, c.shape))
        return (
            f"{p.kind}, T={p.T}, {p.range()}; predicts {c.predicts}, variance {c.variance}; pictures {size}"
        )


Classes = Callable[[str], type[Pretrained] | None]
"""Name of a kind -> the class that reads it, if there is one."""


def inspect(
    where: str | os.PathLike[str], classes: Classes = lambda kind: Prior if kind == Prior.kind else None
) -> Report:
    """Describe a folder, a weights file or something that ships.

    classes: the kinds whose configs are checked; of others the headers alone are told. Raises UserError for a
    broken or hostile file.
    """
    path = Path(where)
    if not path.exists():
        path = find("priors", str(where)) or run_folder(path)
    path = layout.snapshot(path)
    need(path.exists(), f"there is no file or folder {path}: check the path")
    if path.is_file():
        return _of_file(path)
    if layout.is_theirs(path):
        return _of_theirs(path)
    path = folder.inner(path)
    if folder.is_ours(path):
        kind, values = folder.description(path)
        verify(path, (folder.CONFIG, folder.WEIGHTS))
        cls = classes(kind)
        config = cls and build(cls.config_class(), values, str(path / folder.CONFIG))
        remark = "" if cls else f"its settings are not checked: no method is called {kind}"
        network = values.get("network")
        network = network if isinstance(network, dict) else {}
        return _report(path, f"headwater {kind}", path / folder.WEIGHTS, network, config, remark)
    raise UserError(f"{path} holds no checkpoint: {sources.what_to_give(path)}")


def _of_theirs(path: Path, weights: Path | None = None) -> Report:
    found = diffusers.read_config(path, weights=weights)
    remark = "; ".join(found.remarks)
    return _report(path, "diffusers folder", found.weights, found.config.network, found.config, remark)


def _of_file(path: Path) -> Report:
    refuse_single(path)
    held = contents(path).entries
    if layout.of_unet2d(held) and layout.is_theirs(path.parent):
        return _of_theirs(path.parent, path)
    shapes = {name: entry.shape for name, entry in held.items()}
    found: Published | None = score_network(shapes)
    words = "score-SDE weights"
    if found is None and (found := classifier_network(shapes)):
        words = "guided-diffusion classifier"
    if found is None and (found := sources.level_of_weights(path)):
        words = "DDPM-CD weights"
    if found is None:
        words = "guided-diffusion weights"
        try:
            found = sources.network_of_weights(path, {})
        except UserError as error:
            return _report(path, "other weights", path, {}, None, str(error))
    try:
        described = sources.config_of_weights(path, {})
        config, remark = described.config, "; ".join(described.remarks)
    except UserError as error:
        config, remark = None, "; ".join((*sources.chosen(path)[1], str(error)))
    report = _report(path, words, path, as_fields(found), config, remark)
    return dataclasses.replace(report, published=published_names(found))


def _report(
    path: Path,
    words: str,
    weights: Path,
    network: dict[str, Any],
    config: Any,
    remark: str = "",
) -> Report:
    held = contents(weights)
    types = Counter(str(e.dtype).removeprefix("torch.") for e in held.entries.values())
    return Report(
        path=str(path),
        format=words,
        weights=str(weights),
        container=held.format,
        nest=held.nest,
        bytes=size(weights),
        sha256=file_hash(weights),
        tensors=len(held.entries),
        parameters=sum(e.size for e in held.entries.values()),
        dtypes=dict(types),
        network=network,
        config=config,
        remark="; ".join(filter(None, [remark, held.remark])),
    )
