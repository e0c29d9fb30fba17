"""Small pictures with classes that the claims of defences are tested on, and what is trained of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import torch
from torch import Tensor, nn

from headwater.core import Denoiser
from headwater.core.prediction import Target
from headwater.data import Set, load
from headwater.methods.robustness.shared.purifies import OnUnitRange
from headwater.metrics.classifier import train_classifier
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.perceptron import Perceptron
from headwater.noise import derive
from headwater.sampling import Run
from headwater.training import TrainerConfig, train
from headwater.training.timesteps import stratified

Norm = Literal["linf", "l2"]
Labelled = tuple[Tensor, Tensor]
"""Pictures (N, C, H, W) and their classes (N,)."""
CONCEPTS = {
    "face": "face",
    "hand": "hand hands fist finger fingers thumbs palm palms salute",
    "person": "man woman men women people person boy girl worker prince princess snowboarder",
    "button": "button square keycap input sign",
    "animal": "ant badger bat bear beaver bee beetle bird bison boar bug butterfly camel cat chick chicken "
    "cockroach cow cricket crocodile deer dodo dog dolphin donkey dove dragon duck eagle elephant fish "
    "flamingo fox frog giraffe goat goose gorilla hamster hedgehog hippopotamus horse kangaroo koala leopard "
    "lion lizard llama mammoth monkey moose mosquito mouse octopus orangutan otter owl ox panda parrot "
    "peacock penguin pig poodle rabbit raccoon ram rat rhinoceros rooster sauropod scorpion seal shark sheep "
    "skunk sloth snail snake spider squid swan tiger turkey turtle unicorn whale wolf worm zebra",
}
"""Class of an emoji -> words of its name. The first class that has one decides: a cat face is a face."""


CHAIN = ProcessConfig()
"""The chain of Ho et al. 2020."""


@dataclass(frozen=True)
class Pictures:
    """A set of pictures with classes, and how large the attacks are that are tried on it."""

    set: Literal["tiny", "emoji"]
    classes: tuple[str, ...]
    radii: Mapping[Norm, tuple[float, ...]]
    """Of attacks on [0, 1], from small to large."""
    skip: bool = False
    """Whether the prior's network has a skip connection, as it needs for more values than it is wide."""

    def labelled(self, split: str) -> Labelled:
        """All pictures of a split that have a class, in [-1, 1]."""
        data = loaded(self.set, split)
        if self.set == "tiny":
            return data.images, cast(Tensor, data.labels)
        found = [concept(name) for name in data.names or []]
        rows = torch.tensor([i for i, name in enumerate(found) if name is not None])
        return data.images[rows], torch.tensor([self.classes.index(name) for name in found if name])

    def first(self, split: str, n: int) -> Labelled:
        """n pictures in [0, 1] and their classes, in one order for all seeds."""
        images, labels = self.labelled(split)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:n]
        return (images[order] + 1) / 2, labels[order]

    def classifier(self, seed: int, epochs: int) -> nn.Module:
        """A classifier of pictures in [0, 1]."""
        return OnUnitRange(train_classifier(*self.labelled("train"), seed, epochs)).eval()

    def prior(
        self, seed: int, steps: int, progress: bool, process: ProcessConfig = CHAIN, predicts: Target = "v"
    ) -> Prior:
        """A prior of all training pictures, those without a class too."""
        pictures = loaded(self.set, "train").images
        return train_prior(pictures, seed, steps, progress, process, predicts, self.skip)


PICTURES = {
    "digits": Pictures(
        "tiny",
        tuple("0123456789"),
        {"linf": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3), "l2": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)},
    ),
    "emoji": Pictures(
        "emoji",
        tuple(CONCEPTS),
        {"linf": tuple(k / 255 for k in (4, 8, 12, 16, 24, 32)), "l2": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)},
        skip=True,
    ),
}
"""Digits of 8 x 8 pixels in grey, and emoji of 16 x 16 in colour."""


@cache
def loaded(name: str, split: str) -> Set:
    """A split, its emoji made small; read once, since every seed asks for it."""
    return load(name, split, 16 if name == "emoji" else None)


def concept(name: str) -> str | None:
    """The class of an emoji of that name, if it has one."""
    words = set(name.split())
    return next((found for found, known in CONCEPTS.items() if words & set(known.split())), None)


def train_prior(
    pictures: Tensor, seed: int, steps: int, progress: bool,
    process: ProcessConfig = CHAIN, predicts: Target = "v", skip: bool = False,
) -> Prior:  # fmt: skip
    """A prior of pictures (N, C, H, W) in [-1, 1]."""
    shape = cast("tuple[int, int, int]", tuple(pictures.shape[1:]))
    config = PriorConfig({"kind": "perceptron"}, shape, process, predicts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, 1))
        network = Perceptron(pictures[0].numel(), skip=skip)
    how = TrainerConfig(steps, 128, 2e-3, warmup=100, decay="cosine", ema=0.99)
    q = config.process.build()

    def loss(net: nn.Module, rows: Tensor, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(seed, 2, number))
        x0 = pictures[rows]
        t = stratified(len(rows), q.T, torch.rand(len(rows), generator=generator) / len(rows))
        eps = torch.randn(x0.shape, generator=generator)
        return Denoiser(net, q, predicts).loss(x0, t, eps).mean()

    return Prior(train(network, loss, len(pictures), how, Run(seed, progress=progress)), config)
