"""What AnoDDPM has to beat: an autoencoder trained on the same pictures, and their plain mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Unpack

import torch
from torch import Tensor

from headwater.methods.anomaly.shared.anomalies import Anomalies, against
from headwater.methods.base import Images
from headwater.nets.autoencoder import Autoencoder, AutoencoderConfig
from headwater.noise import derive
from headwater.sampling import Run, RunOptions

_AUTOENCODER = 0x4145


@dataclass(frozen=True)
class AutoencoderBaseline:
    """Reconstruct with an autoencoder of healthy pictures; the error is the map (Baur et al. 2021, AE)."""

    network: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    steps: int = 2000
    """Adam steps, the learning rate falling to 0 along half a cosine."""
    batch: int = 64
    """Pictures in a step."""
    lr: float = 2e-3
    """Peak learning rate."""

    def fit(self, image: Images, **how: Unpack[RunOptions]) -> Autoencoder:
        """Train on healthy pictures (N, C, H, W) in [-1, 1] by mean squared error."""
        run = Run(**how)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(run.seed, _AUTOENCODER, 0))
            network = Autoencoder(self.network).to(run.device)
        generator = torch.Generator().manual_seed(derive(run.seed, _AUTOENCODER, 1))
        optimiser = torch.optim.Adam(network.parameters(), self.lr)
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda k: min(1, (k + 1) / 20) * (1 + math.cos(k / self.steps * math.pi)) / 2
        )
        for _ in run.track(range(self.steps), "autoencoder"):
            x = image[torch.randint(len(image), (self.batch,), generator=generator)].to(run.device)
            loss = (network(x) - x).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
        return network.eval()


@torch.inference_mode()
def autoencoder_anomalies(network: Autoencoder, image: Images, **how: Unpack[RunOptions]) -> Anomalies:
    """Squared error of the reconstruction of pictures (B, C, H, W) in [-1, 1]."""
    run = Run(**how)
    healed = torch.cat([network.to(run.device)(b.take(image)).cpu() for b in run.batches(len(image))])
    return against(image, healed)


def mean_anomalies(image: Images, place: Tensor, healthy: Images, its_place: Tensor, reach: int) -> Anomalies:
    """Squared difference from the mean of the healthy pictures within `reach` of a picture's place.

    place: (B,) where each picture comes from, such as the height of a slice in mm; its_place: (N,) the same
    of the healthy ones. Raises ValueError when a picture has no healthy neighbour.
    """
    near = ((place[:, None] - its_place[None]).abs() <= reach).to(healthy.dtype)
    if bool((near.sum(1) == 0).any()):
        raise ValueError("a picture has no healthy neighbour: choose a larger reach.")
    weights = near / near.sum(1, keepdim=True)
    return against(image, torch.einsum("bn,nchw->bchw", weights, healthy))
