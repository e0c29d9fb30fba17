"""DDPM-Seg at the paper's size: 50 pictures of 256 x 256, 8,448 features a pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.bench.naive_features import naive_logits
from headwater.bench.network import stirred
from headwater.bench.pixel_features import BLOCKS, TOLERANCE, PixelFeatures
from headwater.bench.row import Row
from headwater.bench.timing import agreement, alternate
from headwater.bench.weighing import peak
from headwater.methods.segmentation.ddpm_segmentation.method import (
    DDPMSegmentation,
    PixelClassifiers,
    read_features,
    shared_noise,
)
from headwater.models.config import PriorConfig
from headwater.models.prior import Prior
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_published import UNETS
from headwater.sampling import Run


@dataclass(frozen=True)
class FewLabels:
    """`DDPMSegmentation` on random pictures, batch after batch, and on one picture against the naive stack.

    The network has the published blocks and their sizes, but is thin inside to save time: what is read of a
    block is widened to the published channels.
    """

    pictures: int
    side: int
    members: int
    pairs: int
    batch: int = 4
    classes: int = 10
    width: float = 1.0
    """1 for the paper's channels (D = 8448), less for a test."""
    channels: int = 32
    """Of the thin network's first level; 256 in the paper."""

    def rows(self, run: Run) -> list[Row]:
        """Check that both give the same logits, time them, and weigh each in a process of its own."""
        task = _Task(self, 1)
        maps = task.maps()
        with torch.inference_mode():
            ours = torch.stack([task.fitted.network.logits(k, maps, task.size) for k in range(self.members)])
        equal = agreement(ours, naive_logits(task.fitted.network, maps, task.size), TOLERANCE, "logits")
        dim = task.fitted.network.dim
        del ours, maps
        name = f"few labels, {self.side} x {self.side}"
        times = alternate(task.label, task.label_naively, self.pairs, run, name)
        whole = 2 * 4 * dim * self.side**2 * self.pictures / 1e9
        what = (
            f"D = {dim} features a pixel, {self.members} classifiers, {self.classes} classes, published "
            f"geometry in a network of {self.channels} instead of 256 channels, fp32"
        )
        start = times.row(
            name,
            sizes=f"seconds per picture with the network, {what}; memory beyond the network while labelling "
            f"{self.pictures} pictures in batches of {self.batch}",
            peer="the naive stack (bench/naive_features.py), memory for one picture",
            equal=equal,
            peaks=(peak(self, "label"), peak(self, "naive")),
        )
        read = alternate(task.fit, lambda: None, 1, run, f"{name}, fitting")
        return [
            start,
            Row(
                f"{name}, fitting",
                read.ours[0],
                None,
                None,
                None,
                read.ours_cpu[0],
                None,
                peak(self, "fit"),
                None,
                sizes=f"seconds to read one labelled picture and take two minibatches, {what}; memory beyond "
                f"the network while learning from {self.pictures} pictures, whose maps are kept in float16",
                peer=f"the naive stack would hold {whole:.0f} GB at once and is not run",
                equal="as above",
            ),
        ]

    def small(self) -> Self:
        """One narrow picture of 64 x 64 and one classifier."""
        return replace(self, pictures=1, side=64, members=1, width=1 / 32)

    def work(self, way: str) -> Callable[[], object]:
        """`label` all pictures, `fit` on all, or label one by the `naive` stack."""
        task = _Task(self, 1 if way == "naive" else self.pictures)
        return {"label": task.label, "fit": task.fit, "naive": task.label_naively}[way]


class _Task:
    """Random pictures, a network of random weights, and classifiers of random weights."""

    def __init__(self, sizes: FewLabels, pictures: int) -> None:
        self.sizes, self.size = sizes, (sizes.side, sizes.side)
        generator = torch.Generator().manual_seed(0)
        self.image = torch.rand(pictures, 3, *self.size, generator=generator) * 2 - 1
        # Two minibatches of pixels are labelled: the rest would only take time.
        self.labels = torch.full((pictures, *self.size), 255)
        few = torch.randperm(self.labels.numel(), generator=generator)[:128]
        self.labels.view(-1)[few] = torch.arange(len(few)) % sizes.classes
        self.prior = _prior(sizes)
        self.run = Run(device="cpu", batch_size=sizes.batch, progress=False)
        self.method = DDPMSegmentation(ensemble=sizes.members, epochs=1, smallest=1, stored="float16")
        noise = shared_noise(self.prior, self.image, self.run)
        ensemble = PixelFeatures(sizes.side, sizes.members, 1, sizes.classes, sizes.width).ensemble()
        self.fitted = PixelClassifiers.of(ensemble, noise, self.method.steps, self.method.blocks)

    def maps(self) -> list[Tensor]:
        """What is read of all pictures."""
        return read_features(
            self.prior, self.image, self.method.steps, self.method.blocks, self.fitted.noise, self.run
        )

    def label(self) -> Tensor:
        """int64 (pictures, side, side)."""
        return self.method.apply(self.prior, self.image, self.fitted, **self.run).labels

    def label_naively(self) -> Tensor:
        """The same for one picture, by the stack."""
        logits = naive_logits(self.fitted.network, self.maps(), self.size)
        return F.one_hot(logits.argmax(2), self.sizes.classes).sum(0).argmax(-1)

    def fit(self) -> PixelClassifiers:
        """Learn from all pictures."""
        return self.method.fit(self.prior, self.image, self.labels, **self.run)


class _Widened(UNet):
    """A thin network whose decoder blocks read as wide as the published ones, by a random map per pixel."""

    def __init__(self, config: UNetConfig, width: float) -> None:
        super().__init__(config)
        self.wide = {f"output_blocks.{b}": int(c * width) for b, (c, _) in BLOCKS.items()}

    def stages(
        self, x: Tensor, timesteps: Tensor, y: Tensor | None = None, features: Tensor | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        for name, h in super().stages(x, timesteps, y, features):
            if name not in self.wide:
                yield name, h
                continue
            drawn = torch.randn(self.wide[name], h.shape[1], 1, 1, generator=torch.Generator().manual_seed(0))
            yield name, F.conv2d(h, drawn * h.shape[1] ** -0.5)


def _prior(sizes: FewLabels) -> Prior:
    config = replace(UNETS["256x256_diffusion_uncond"], model_channels=sizes.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = stirred(_Widened(config, sizes.width)).eval().requires_grad_(False)
    shape = 3, sizes.side, sizes.side
    return Prior(network, PriorConfig({"kind": "adm", **asdict(config)}, shape, variance="learned_range"))
