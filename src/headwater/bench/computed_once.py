"""What a walk computes once because it does not depend on the level, against computing it at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from headwater.bench.network import stirred
from headwater.bench.row import Row
from headwater.bench.timing import alternate, relative_agreement
from headwater.controls import Clip
from headwater.core import Denoises, Prediction, last, respaced, reverse
from headwater.core.sampler import DDIM, Ancestral
from headwater.core.transition import Level
from headwater.data import load
from headwater.data.windows import Scale, Windows
from headwater.methods.segmentation.segdiff.method import FittedSegDiff, SegDiff
from headwater.methods.series.csdi.method import Chain, FittedCSDI, ImputerConfig
from headwater.methods.synthesis.blended_diffusion.method import BlendedDiffusion
from headwater.methods.synthesis.glide.method import FittedGlide
from headwater.methods.synthesis.sdm.method import SDM, FittedSDM
from headwater.models import Prior
from headwater.models.image_text import encoder_of
from headwater.nets.csdi import CSDIConfig, CSDINet
from headwater.noise import White
from headwater.sampling import Run, guided

TOLERANCE = 1e-4
Part = Literal["guidance", "captions", "picture", "map", "side information", "estimate"]
Ways = tuple[Callable[[], Tensor], Callable[[], Tensor]]


@dataclass(frozen=True)
class ComputedOnce:
    """One method's walk on the very same network: as it is, and with one part computed at every step.

    guidance: GLIDE's two answers a step in one network call, against two calls.
    captions: GLIDE's transformer reads them before the walk, against in each call.
    picture: SegDiff's RRDB sees a picture once for all its masks and steps, against once a step and mask.
    map: what the norms of SDM's decoder read from a label map, once a picture, against in each call.
    side information: CSDI's embeddings and their projections, once per window, against once a step and draw.
    estimate: Blended Diffusion steps by the same estimate that its guide's gradient goes through, against a
        network call for each, as in the reference code.
    """

    part: Part
    steps: int
    batch: int
    """Captions, masks of one picture, label maps, draws of one window, or edited pictures."""
    pairs: int
    side: int = 64
    """Side of SegDiff's and SDM's pictures, or columns of CSDI's series."""
    scale: int = 4
    """SegDiff's, SDM's and CSDI's networks are so many times thinner than the paper's."""

    def rows(self, run: Run) -> list[Row]:
        """Check that both walks end alike, then time them."""
        made: dict[Part, Callable[[], tuple[Ways, str]]] = {
            "guidance": self.guidance,
            "captions": self.captions,
            "picture": self.picture,
            "map": self.map,
            "side information": self.side_information,
            "estimate": self.estimate,
        }
        (ours, peer), sizes = made[self.part]()
        ends = ours(), peer()
        equal = relative_agreement(*ends, TOLERANCE, "ends of walks")
        name = f"once: {self.part}, {self.batch}"
        times = alternate(ours, peer, self.pairs, run, name, (self.steps, self.steps))
        twice = self.part in ("guidance", "estimate")
        how = "in two calls a step" if twice else "computed again at every step"
        return [
            times.row(
                name,
                sizes=f"seconds per step of {self.steps}, {sizes}, fp32",
                peer=f"the same walk and network, {self.part} {how}",
                equal=equal,
                slower="one call saves overhead, not arithmetic, and twice the batch leaves the cache"
                if self.part == "guidance"
                else "",
            )
        ]

    def guidance(self) -> tuple[Ways, str]:
        """The shipped GLIDE, guided."""
        fitted = FittedGlide.from_pretrained("glide")
        told = fitted.encode(CAPTIONS[: self.batch])
        null = fitted.encode([""])
        asunder = _TwoCalls(fitted.denoiser, 3.0, null)

        def drawn(model: Denoises) -> Tensor:
            return self._draw(fitted, model, told)

        ways = lambda: drawn(guided(fitted.denoiser, 3.0, null)), lambda: drawn(asunder)
        return ways, self._said(fitted)

    def captions(self) -> tuple[Ways, str]:
        """The shipped GLIDE, unguided."""
        fitted = FittedGlide.from_pretrained("glide")
        tokens, mask = fitted.tokens(CAPTIONS[: self.batch])
        forgetful = replace(fitted.denoiser, network=_Forgetful(fitted.network))

        def ours() -> Tensor:
            return self._draw(fitted, fitted.denoiser, fitted.encode(CAPTIONS[: self.batch]))

        def peer() -> Tensor:
            return self._draw(fitted, forgetful, {"tokens": tokens, "mask": mask})

        return (ours, peer), self._said(fitted)

    def _draw(self, fitted: FittedGlide, model: Denoises, cond: dict[str, Tensor]) -> Tensor:
        noise = Run(device="cpu", seed=0).stream(self.batch)
        with torch.inference_mode():
            x = fitted.process.start(torch.empty(self.batch, *fitted.shape), noise)
            plan = respaced(fitted.process.T, self.steps)
            return last(reverse(model, x, plan, DDIM(), [Clip()], noise, False, **cond))

    def estimate(self) -> tuple[Ways, str]:
        """The shipped prior and encoder of emoji."""
        prior, encoder = Prior.from_pretrained("emoji"), encoder_of("emoji-captions")
        asked = Prior(_Asked(prior.network), prior.config)
        method = BlendedDiffusion("emoji-captions", steps=self.steps, skip=0, candidates=1)
        image = load("emoji", "test", 32).images[: self.batch]
        known = torch.ones(1, 1, 32, 32, dtype=torch.bool)
        known[..., 8:24, 8:24] = False
        quiet = Run(device="cpu", seed=0, batch_size=self.batch, progress=False)
        text = CAPTIONS[: self.batch]

        def drawn(one: Prior) -> Tensor:
            return method.draw(one, image, known, text, encoder, quiet)

        said = f"Blended Diffusion with the shipped prior and encoder, {self.batch} x 3 x 32 x 32"
        return (lambda: drawn(prior), lambda: drawn(asked)), said

    def _said(self, fitted: FittedGlide) -> str:
        size = " x ".join(map(str, fitted.shape))
        return f"shipped GLIDE, {self.batch} captions of {fitted.network.config.text.ctx} tokens, {size}"

    def picture(self) -> tuple[Ways, str]:
        """SegDiff's published proportions, `scale` times thinner."""
        thin = replace(SegDiff().network, model_channels=128 // self.scale)
        width, growth = 64 // self.scale, 32 // self.scale
        method = SegDiff(network=thin, encoder_width=width, encoder_growth=growth)
        fitted = FittedSegDiff.fresh(method.sizes((3, self.side, self.side), 2), 0)
        stirred(fitted.network).eval().requires_grad_(False)
        forgetful = replace(fitted, network=_Reencoding(fitted.network))  # pyright: ignore[reportArgumentType]
        image = torch.rand(1, *fitted.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        method = replace(method, samples=self.batch, steps=self.steps)
        quiet = Run(device="cpu", batch_size=self.batch, progress=False)

        def masks(one: FittedSegDiff) -> Tensor:
            return method.draw(image, one, Ancestral("large"), quiet)

        size = f"SegDiff in a network {self.scale} times thinner than the paper's"
        said = f"{size}, {self.batch} masks of one 3 x {self.side} x {self.side} picture"
        return (lambda: masks(fitted), lambda: masks(forgetful)), said

    def map(self) -> tuple[Ways, str]:
        """SDM's published proportions, `scale` times thinner, on maps of ADE20K's classes."""
        thin = replace(SDM().network, model_channels=256 // self.scale, num_head_channels=64 // self.scale)
        # v: untrained, an answer that is divided by a signal of almost 0 would be all rounding.
        method = SDM(network=thin, hidden=128 // self.scale, steps=str(self.steps), predicts="v")
        fitted = FittedSDM.fresh(method.sizes((3, self.side, self.side), 151), 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            stirred(fitted.network).eval().requires_grad_(False)
        draws = torch.Generator().manual_seed(0)
        labels = torch.randint(151, (self.batch, self.side, self.side), generator=draws)
        quiet = Run(device="cpu", batch_size=self.batch, progress=False)

        def drawn(cached: bool) -> Tensor:
            return replace(method, cached=cached).draw(labels, fitted, quiet)

        size = f"SDM in a network {self.scale} times thinner than the paper's, guided"
        said = f"{size}, {self.batch} maps of 151 classes, {self.side} x {self.side}"
        return (lambda: drawn(True), lambda: drawn(False)), said

    def side_information(self) -> tuple[Ways, str]:
        """CSDI's published network, `scale` times thinner, on windows of 48 rows."""
        config = CSDIConfig(self.side, channels=64 // self.scale, heads=8 // self.scale)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = stirred(CSDINet(config)).eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        shape = 1, self.side, 48
        observed = torch.rand(shape, generator=generator) < 0.5
        windows = Windows(torch.randn(shape, generator=generator), observed, torch.arange(48.0)[None])
        columns = tuple(f"x{i}" for i in range(self.side))
        scale = Scale(np.zeros(self.side), np.ones(self.side), 1.0)
        chain = Chain(T=self.steps)
        fitted, forgetful = (
            FittedCSDI(n, ImputerConfig(config, columns, scale, 48, chain))
            for n in (network, _Embedding(network, windows.times))
        )

        def drawn(one: FittedCSDI) -> Tensor:
            with torch.inference_mode():
                side: Any = one.network.side(windows.times, windows.observed)  # type: ignore[operator]
                noise = White().stream(range(self.batch))
                start = one.start(windows, side, noise)
                plan = respaced(self.steps, self.steps)
                return last(reverse(one.denoiser, start.x, plan, noise=noise, **start.conditions))

        return (
            lambda: drawn(fitted),
            lambda: drawn(forgetful),
        ), f"CSDI of {64 // self.scale} channels, {self.batch} draws of a window of {self.side} x 48"


CAPTIONS = ["a red heart", "a smiling cat", "a green tree", "a blue car"] * 8


@dataclass(frozen=True, eq=False)
class _TwoCalls:
    """Classifier-free guidance as it is written: the network asked with the caption, then without."""

    inner: Denoises
    scale: float
    null: dict[str, Tensor]

    @property
    def process(self) -> Any:
        return self.inner.process

    def __call__(self, x: Tensor, t: Level, previous: Prediction | None = None, **cond: Any) -> Prediction:
        told = self.inner(x, t, previous, **cond)
        nothing = {k: v.expand_as(cond[k]) for k, v in self.null.items()}
        plain = self.inner(x, t, previous, **nothing)
        return told.with_x0(plain.x0 + self.scale * (told.x0 - plain.x0))


class _Asked(nn.Module):
    """A prior's network that is asked once more, without a gradient, before each call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.inner = network

    def forward(self, *given: Tensor, **more: Tensor) -> Tensor:
        with torch.no_grad():
            self.inner(*given, **more)
        return self.inner(*given, **more)


class _Forgetful(nn.Module):
    """A `Text2Im` that reads its captions in every call."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.inner = network

    def forward(self, x: Tensor, label: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.inner(x, label, *self.inner.encode(tokens, mask))


class _Reencoding(nn.Module):
    """A `SummedUNet` that encodes its picture in every call."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.inner, self.config = network, network.config

    def encode(self, image: Tensor) -> Tensor:
        return image

    def forward(self, x: Tensor, label: Tensor, features: Tensor) -> Tensor:
        return self.inner(x, label, features=self.inner.encode(features))


class _Embedding(nn.Module):
    """A `CSDINet` that embeds and projects its side information in every call."""

    def __init__(self, network: Any, times: Tensor) -> None:
        super().__init__()
        self.inner, self.times = network, times

    def side(self, times: Tensor, known: Tensor) -> list[Tensor]:
        return []

    def forward(self, x: Tensor, label: Tensor, side: Any, given: Tensor, known: Tensor) -> Tensor:
        fresh = self.inner.side(self.times.expand(len(x), -1), known)
        return self.inner(x, label, side=fresh, given=given, known=known)
