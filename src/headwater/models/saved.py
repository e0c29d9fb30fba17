"""Folders of networks that methods trained: weights in safetensors, everything else in JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from headwater.atomic import read_json, verify, write_json, written_aside
from headwater.errors import UserError, need
from headwater.models.filling import blueprint, fill
from headwater.models.state import contents, load_state

_FORMAT = 1
_NUMBERS, _WORDS = "network.safetensors", "about.json"

Build = Callable[[dict[str, Any]], nn.Module]
"""The network of a description; all that its layers compute with is in its state dict."""


def save_network(folder: str | Path, network: nn.Module, about: dict[str, Any]) -> None:
    """Write network.safetensors and about.json, whole or not at all.

    about: plain JSON values; `kind` names the method, the rest is what `build` and `apply` will need.
    Raises UserError when the folder cannot be written.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    with written_aside(folder) as aside:
        save_file(state, aside / _NUMBERS)
        write_json(aside / _WORDS, {"format": _FORMAT, **about})


def load_network(
    folder: str | Path, build: Build, kind: str, device: str = "cpu"
) -> tuple[nn.Module, dict[str, Any]]:
    """Read what `save_network` wrote: the network, in eval mode and frozen, and its description.

    The described network is compared with the weights' names and shapes before it takes any memory. Raises
    UserError for a folder that is damaged, of another method, or whose two files disagree.
    """
    folder = Path(folder)
    need(folder.is_dir(), f"{folder} is no folder: give one that `headwater fit {kind}` wrote")
    named = verify(folder).keys() >= {_NUMBERS, _WORDS}
    need(named, f"{folder} holds no fitted {kind}: `headwater fit {kind}` writes one")
    about = read_json(folder / _WORDS)
    need(about.get("format") == _FORMAT, f"{folder} has another format: read it with a newer headwater")
    found = about.get("kind")
    need(found == kind, f"{folder} was fitted for {found}, not for {kind}: give another folder")
    weights, apart = folder / _NUMBERS, f"the two files in {folder} disagree ({{}}): fit again"
    try:
        network = blueprint(lambda: build(about), contents(weights).entries, apart.format)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(apart.format((str(error).splitlines() or ["?"])[0])) from None
    return fill(network, load_state(weights)).to(device).requires_grad_(False), about
