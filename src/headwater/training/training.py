"""The objects of one training and what one optimiser step does with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from headwater.core.denoiser import Denoiser
from headwater.errors import need
from headwater.models.prior import Prior
from headwater.noise import derive
from headwater.training import checkpoint
from headwater.training.average import Average
from headwater.training.dropout import Keys, install
from headwater.training.feed import Batch, Feed, Pictures
from headwater.training.processes import Processes
from headwater.training.recipe import Recipe
from headwater.training.sharding import shard, whole
from headwater.training.update import move

_GAMMA = 5.0
"""Min-SNR's clamp (Hang et al. 2023, sec. 3.4)."""
_INIT = 11
"""Purpose of the seed that draws the first weights; the feed's purposes are below 10."""


def level_weights(recipe: Recipe, half_log_snr: Tensor) -> Tensor:
    """Weight of each level's loss, (T+1,) float32, for the network's own target.

    half_log_snr: (T+1,) float64, as `Diffusion.half_log_snr`. min-snr is min(snr, 5) in units of the x0
    error, so divided by snr for eps and by snr + 1 for v (Hang et al. 2023, eq. 8 and sec. 3.4). Entry 0
    is never used.
    """
    snr = (2 * half_log_snr).exp()
    snr[0] = 1.0
    if recipe.weighting == "simple":
        return torch.ones_like(snr, dtype=torch.float32)
    clamped = snr.clamp(max=_GAMMA)
    by = {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}[recipe.predicts]
    # Where nothing of the picture is left snr is 0, and so is min(snr, 5).
    return torch.where(snr == 0, float(recipe.predicts == "eps"), clamped / by).float()


@dataclass(frozen=True)
class Training:
    """The objects of one training, built the same way at every start."""

    recipe: Recipe
    processes: Processes
    feed: Feed
    prior: Prior
    """Its network is the running average."""
    network: nn.Module
    """The trained weights."""
    model: Callable[..., Tensor]
    """The trained network as it is called: wrapped for several processes, compiled."""
    optimizer: torch.optim.Optimizer
    average: Average
    keys: Keys
    weights: Tensor
    """Weight of each level's loss, (T+1,)."""

    @property
    def state(self) -> checkpoint.State:
        """What a checkpoint keeps."""
        return checkpoint.State(self.network, self.average.network, self.optimizer)

    def denoiser(self) -> Denoiser:
        """The trained network read as the recipe says, in the recipe's precision."""
        device, half = self.processes.device.type, self.recipe.precision == "bf16"

        def call(x: Tensor, label: Tensor, **cond: Any) -> Tensor:
            if self.recipe.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device, torch.bfloat16, enabled=half):
                return self.model(x, label, **cond)

        return replace(self.prior.denoiser, network=call)

    def update(self, step: int) -> tuple[float, float]:
        """Optimiser step `step` (0-based): mean loss and gradient norm over the global batch.

        Raises NotFiniteError, with all weights unchanged, where one of them is not finite.
        """
        r, denoiser = self.recipe, self.denoiser()
        total = torch.zeros((), device=self.processes.device)
        for part in range(r.grad_accumulation):
            batch = self.feed.batch(step, self._rows(part))
            with self._alone(part):
                loss = self._loss(denoiser, batch) / r.grad_accumulation
                loss.backward()
            total += loss.detach()
        mean = self.processes.mean(total)
        return mean, move(self.network, self.optimizer, self.average, r, step, mean, r.grad_clip)

    @property
    def pace(self) -> Recipe:
        """Its course."""
        return self.recipe

    @property
    def spread(self) -> bool:
        """Whether each process holds a share of the weights."""
        return self.recipe.sharded and self.processes.count > 1

    def whole_average(self) -> nn.Module:
        """The averaged network; where it is spread, a whole one in main memory, for which all call this."""
        if not self.spread:
            return self.average.network
        network = self.prior.config.build_network().eval().requires_grad_(False)
        shares = self.average.network.state_dict()
        network.load_state_dict({name: whole(value).cpu() for name, value in shares.items()})
        return network

    def agree(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return self.processes.any(flag)

    def _loss(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        device = self.processes.device
        self.keys.value = batch.keys.to(device)
        cond = {k: v.to(device) for k, v in batch.cond.items()}
        losses = denoiser.loss(batch.x0.to(device), batch.t.to(device), batch.eps.to(device), **cond)
        return (losses * self.weights[batch.t].to(device)).mean()

    def _alone(self, part: int) -> Any:
        """Gradients travel between processes with the last part of a batch only."""
        last = part + 1 == self.recipe.grad_accumulation
        wrapped = getattr(self.model, "_orig_mod", self.model)
        parallel = isinstance(wrapped, DistributedDataParallel)
        return wrapped.no_sync() if parallel and not last else nullcontext()

    def _rows(self, part: int) -> range:
        """The rows of the global batch that this process computes in one part."""
        size = self.recipe.batch // self.recipe.grad_accumulation
        mine = size // self.processes.count
        first = part * size + self.processes.index * mine
        return range(first, first + mine)


def build(recipe: Recipe, pictures: Pictures, team: Processes) -> Training:
    """Fresh weights and everything around them; the weights depend on the recipe alone.

    Raises UserError where the recipe's parts do not fit each other or the number of processes.
    """
    need(
        recipe.batch % (team.count * recipe.grad_accumulation) == 0,
        f"a batch of {recipe.batch} does not split evenly over {team.count} processes in "
        f"{recipe.grad_accumulation} parts: change batch",
    )
    config = recipe.prior_config(pictures.classes)
    process, law = config.process.build(), config.law()
    sayable = recipe.predicts not in ("eps", "score") or bool(process.alpha[-1] > 0)
    need(sayable, f"{recipe.predicts} says nothing about a level of pure noise: choose predicts v or x0")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.seed, _INIT))
        network = config.build_network()
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    device = "cpu" if recipe.sharded else team.device  # what is sharded moves when its shares are known
    network = network.to(device).to(memory_format=layout).train()  # pyright: ignore[reportCallIssue]
    average = Average(copy.deepcopy(network).eval().requires_grad_(False), recipe.ema)
    keys = install(network)
    model: Any = network
    if recipe.sharded and team.count > 1:
        need(not recipe.compile, "a sharded network is not compiled: leave one of the two out")
        shard(network, team)
        shard(average.network, team)
    else:
        model = team.wrap(network)
    if recipe.compile:
        model = torch.compile(model)
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.lr, recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )
    prior = Prior(average.network, config)
    feed = Feed(recipe, pictures, process, law)
    weights = level_weights(recipe, process.half_log_snr)
    return Training(recipe, team, feed, prior, network, model, optimizer, average, keys, weights)
