"""Activations of any block of a U-Net, for callers who want features and no hooks.

Blocks are named as in guided-diffusion: `input_blocks.0` ... (0 = finest), `middle_block`,
`output_blocks.0` ... (0 = deepest); an integer i means `output_blocks.i`.
Source of the use: Baranchuk et al. 2021, arXiv 2112.03126.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from headwater.nets.adm import UNet
from headwater.nets.level_unet import LevelUNet
from headwater.nets.ncsnpp import NCSNpp
from headwater.nets.wrappers import Wrapped

Block = int | str


def activations(
    network: nn.Module,
    x: Tensor,
    timesteps: Tensor,
    blocks: Sequence[Block],
    y: Tensor | None = None,
) -> dict[Block, Tensor]:
    """Output tensors of `blocks`, keyed as asked for, in the order in which they are computed.

    The evaluation stops after the last block needed, gradients flow as in a usual call (use
    `torch.no_grad()` for features), and threads may share the network.

    Args:
        network: our `UNet`; or a diffusers `UNet2DModel`, an `NCSNpp` or a `LevelUNet`, whose residual blocks
            are counted in the same way, attention and resampling included (of an `NCSNpp` those of the
            middle and the decoder); or a wrapper of one, which is called as the wrapper is.
        x: (B,C,H,W); timesteps: (B,), in the network's own numbering; y: (B,) labels if any.

    Returns:
        block -> (B, channels, height, width). Decoder blocks come by ascending index.

    Raises:
        ValueError: for a block that the network does not have, or an unsupported network.
    """
    cond: dict[str, Any] = {} if y is None else {"y": y}
    while isinstance(network, Wrapped):
        x, timesteps, cond = network.inside(x, timesteps, **cond)
        network = network.network
    names = block_names(network)
    wanted: dict[str, Block] = {}
    for block in blocks:
        name = f"output_blocks.{block}" if isinstance(block, int) else block
        if name not in names:
            raise ValueError(f"choose blocks between {names[0]} and {names[-1]}; {name} is none.")
        wanted[name] = block
    if not wanted:
        return {}
    if isinstance(network, UNet):
        found = from_stages(network.stages(x, timesteps, **cond), wanted)
    else:
        call: Callable[[], Any] = lambda: network(x, timesteps, **_as_known(network, cond))  # noqa: E731
        found = from_hooks(call, {name: _blocks(network)[name] for name in wanted})
    return {wanted[name]: found[name] for name in names if name in wanted}


def block_names(network: nn.Module) -> list[str]:
    """Names of all blocks of a U-Net in the order of computation; ValueError if it is none."""
    while isinstance(network, Wrapped):
        network = network.network
    if isinstance(network, UNet):
        encoder = [f"input_blocks.{i}" for i in range(len(network.input_blocks))]
        decoder = [f"output_blocks.{i}" for i in range(len(network.output_blocks))]
        return [*encoder, "middle_block", *decoder]
    return list(_blocks(network))


def _blocks(network: nn.Module) -> dict[str, nn.Module]:
    return network.blocks() if isinstance(network, NCSNpp | LevelUNet) else diffusers_blocks(network)


def _as_known(network: nn.Module, cond: dict[str, Any]) -> dict[str, Any]:
    """The conditions by the names that the network knows them by: diffusers calls labels otherwise."""
    return cond if isinstance(network, NCSNpp | LevelUNet) else {"class_labels": cond.get("y")}


def from_stages(stages: Iterable[tuple[str, Tensor]], wanted: Iterable[str]) -> dict[str, Tensor]:
    left = set(wanted)
    found: dict[str, Tensor] = {}
    for name, output in stages:
        if name in left:
            found[name] = output
            left.remove(name)
            if not left:
                break
    return found


def diffusers_blocks(network: Any) -> dict[str, nn.Module]:
    """Name -> the module whose output ends the block, in the order of computation."""
    parts = ("conv_in", "down_blocks", "mid_block", "up_blocks")
    if not all(hasattr(network, part) for part in parts):
        raise ValueError(f"pass a UNet or a diffusers UNet2DModel, not {type(network).__name__}.")
    encoder = [network.conv_in]
    for level in network.down_blocks:
        encoder += ends(level)
        encoder += list(getattr(level, "downsamplers", None) or ())[-1:]
    decoder: list[nn.Module] = []
    for level in network.up_blocks:
        modules = ends(level)
        # guided-diffusion counts the upsampler into the level's last block.
        modules[-1:] = list(getattr(level, "upsamplers", None) or modules)[-1:]
        decoder += modules
    table = {f"input_blocks.{i}": module for i, module in enumerate(encoder)}
    table["middle_block"] = network.mid_block
    return table | {f"output_blocks.{i}": module for i, module in enumerate(decoder)}


def ends(level: Any) -> list[nn.Module]:
    """Per residual block of a diffusers level: its attention if it has one, else itself."""
    return list(getattr(level, "attentions", None) or level.resnets)


class _Done(Exception):
    """Unwinds a forward pass once nothing more is needed of it."""


def from_hooks(call: Callable[[], Any], modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    # Hooks sit on the shared module, so another thread's pass runs into them too.
    thread = threading.get_ident()
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(module: nn.Module, args: Any, output: Tensor) -> None:
            if threading.get_ident() == thread:
                found[name] = output
                if len(found) == len(modules):
                    raise _Done

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        call()
    except _Done:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found
