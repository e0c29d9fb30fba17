"""Blended Diffusion: change a region of a picture to what a text says, with any prior and any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch
from torch import Tensor

from headwater.controls import GivenRegion
from headwater.core import Control, Gaussian, Prediction
from headwater.core.transition import Transition, fit
from headwater.errors import need
from headwater.methods.base import Images, Mask, Method, Paper, Texts, check_mask
from headwater.methods.synthesis.blended_diffusion.views import Views
from headwater.metrics.image import border_continuity
from headwater.models import Prior
from headwater.models.image_text import Encodes, encoder_of
from headwater.sampling import Batch, Run, RunOptions, Start, sample, sampler_of, timesteps_of

Distance = Literal["cosine", "spherical"]


@dataclass(frozen=True)
class BlendedDiffusion(Method):
    """Draw what a text says into the part of a picture that is not known, and leave the known part as it is,
    to the bit (Avrahami et al. 2022, Alg. 2). Nothing is trained.

        x_in = sigma_t x0(x_t) + (1 - sigma_t) x_t
        D    = mean over views A_k of distance(image(A_k(x_in, known part grey)), text)
        L    = scale D + range_scale mean (x0 - clip(x0))^2
        x'   ~ N(mean - std^2 grad_x_t L, std^2)
        x_s  = known * q(x_t | picture) + (1 - known) * x'          every step; at the end the picture itself

    The first view is plain, the others are turned, shifted and seen in perspective at random: an encoder is
    fooled by one view more easily than by many. The best of `candidates` by the plain view is kept. The
    gradient goes through prior and encoder, one picture at a time through the encoder, so that memory does
    not grow with the batch.

    Deviates from the reference code: a picture without a text, or with one that the encoder does not know, is
    refused (there the guide falls silent); noise for the known part is drawn for each sample, not one for
    the batch; each sample has views of its own; small pictures are enlarged smoothly for the encoder. Paper
    and code noise the known part to the timestep before the one that x' has reached, one too noisy:
    `noised_to="reached"` mends that. The code's distance is `spherical`, its number of views 8.

    >>> import torch
    >>> import headwater as hw
    >>> prior, image = hw.Prior.from_pretrained("emoji"), hw.load("emoji", "test", 32).images[:1]
    >>> known = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    >>> known[..., 8:, 8:] = False
    >>> method = hw.BlendedDiffusion("emoji-captions", steps=4, skip=1, augmentations=2, candidates=1)
    >>> edited = method.apply(prior, image, known, ["red heart"], seed=0)
    >>> torch.equal(edited[..., :8], image[..., :8])
    True
    """

    paper: ClassVar[Paper] = Paper(
        title="Blended Diffusion for Text-driven Editing of Natural Images",
        authors="Omri Avrahami, Dani Lischinski, Ohad Fried",
        year=2022,
        venue="CVPR",
        arxiv="2111.14818",
        code="omriav/blended-diffusion",
        claim="A region is changed towards a text while all around it stays exactly as it was, without a "
        "seam, and views of many kinds keep the change from merely fooling its guide.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "an unconditional prior of such pictures",
        "a mask of the known pixels",
        "a text for each picture, and an encoder of pictures and texts",
    )

    encoder: str = "openai/clip-vit-base-patch16"
    """Encoder that guides: a CLIP by folder or Hugging Face name, a folder of an `ImageTextEncoder`, or the
    one that ships, `emoji-captions`."""
    scale: float = 1000.0
    """Weight of the distance between region and text; 0 fills the region without a text."""
    range_scale: float = 50.0
    """Weight of the squared distance by which estimates leave [-1, 1]."""
    augmentations: int = 16
    """Number of views of the region that the encoder is shown, the plain one among them."""
    crop: bool = False
    """Show the encoder the square around the region alone: small regions and small pictures want it."""
    distance: Distance = "cosine"
    """Distance of two vectors: 1 - cosine, or `spherical`, half the square of the angle."""
    steps: int = 100
    """Number of timesteps, evenly respaced from the prior's own."""
    skip: int = 25
    """Number of them that are left out at the noisy end; what is left of the picture there shows through."""
    sampler: Literal["ancestral", "ddim"] = "ancestral"
    """Sampler that takes the steps: `ancestral` is guided by its mean, `ddim` by its score."""
    noised_to: Literal["before", "reached"] = "before"
    """Timestep that the known part is noised to after a step: the one `before` it, or the one `reached`."""
    candidates: int = 64
    """Number of pictures drawn for each, of which the one nearest to the text is kept."""

    def apply(
        self,
        prior: Prior,
        image: Images,
        known: Mask,
        text: Texts,
        *,
        encoder: Encodes | None = None,
        **how: Unpack[RunOptions],
    ) -> Images:
        """Change `image` where `known` is False to what text[i] says.

        image: (B, C, H, W) in [-1, 1]. known: (B or 1, 1, H, W) bool, True where a pixel stays. encoder: one
        of your own, instead of the field. Returns (B, C, H, W), known pixels untouched. Raises UserError when
        shapes disagree or a text says nothing.
        """
        run = Run(**how)
        guide = encoder or encoder_of(self.encoder, run.device)
        drawn = self.draw(prior, image, known, text, guide, run)
        mask = known.cpu().expand(len(image), *known.shape[1:]).repeat_interleave(self.candidates, 0)
        edited = image.cpu().repeat_interleave(self.candidates, 0).where(mask, drawn)
        if self.candidates == 1:
            return edited
        texts = [one for one in text for _ in range(self.candidates)]
        nearest = self.distances(guide, edited, mask, texts).view(len(image), -1).argmin(1)
        return edited.unflatten(0, (len(image), -1))[torch.arange(len(image)), nearest]

    def draw(
        self,
        prior: Prior,
        image: Tensor,
        known: Tensor,
        text: Sequence[str],
        encoder: Encodes,
        run: Run,
        hold: float | None = None,
    ) -> Tensor:
        """All candidates (B * candidates, C, H, W), those of a picture together, before the picture is put
        back where it is known.

        hold: the paper's Alg. 1 instead, which nothing is blended in: the weight of the mean squared change
        of the known part in the guide's loss.
        """
        prior.check(image)
        check_mask(known, image)
        q, n = prior.process, len(image)
        need(n == len(text) > 0, f"there are {n} pictures and {len(text)} texts: give one text for each")
        for i, one in enumerate(text):
            need(encoder.knows(one), f"text {i}, {one!r}, says nothing to the encoder: say what to draw")
        if (note_lost := getattr(encoder, "note_lost", None)) is not None:  # encoders of a user's own may not
            note_lost(text)
        need(self.candidates >= 1, f"candidates is {self.candidates}: give 1 or more")
        need(self.augmentations >= 1, f"augmentations is {self.augmentations}: give 1 or more")
        need(min(self.scale, self.range_scale) >= 0, "scale and range_scale are 0 or more")
        need(0 <= self.skip < self.steps, f"skip is {self.skip}: give a number from 0 to {self.steps - 1}")
        need(prior.shape[0] in (1, encoder.channels), "the encoder reads grey pictures alone: take another")
        plan, targets = timesteps_of(q, self.steps)[self.skip :], vectors_of(encoder, text).cpu()
        sampler = prior.sampler if self.sampler == "ancestral" else sampler_of(self.sampler)

        def begin(batch: Batch) -> Start:
            given, mask = batch.take(image), batch.take(known)
            views = Views(encoder.channels, encoder.side, self.augmentations, batch.noise)
            guide = Guide(
                encoder, batch.take(targets), mask, views, self.scale, self.range_scale, self.crop,
                self.distance, self.sampler == "ddim", given, hold or 0.0,
            )  # fmt: skip
            late = self.noised_to == "before"
            region = [] if hold is not None else [Blend(given, mask, q, batch.noise, "after", plan, late)]
            return Start(q.sample(given, plan[0], batch.noise), [guide, *region])

        drawn = sample(
            prior.denoiser, plan, n, begin, run,
            sampler=sampler, law=prior.noise, draws=self.candidates, label="pictures",
        )  # fmt: skip
        return drawn.clamp(-1, 1)

    @torch.no_grad()
    def distances(self, encoder: Encodes, image: Tensor, known: Tensor, text: Sequence[str]) -> Tensor:
        """How far the region of each picture (B, C, H, W) is from its text, seen plainly, (B,)."""
        views, targets = Views(encoder.channels, encoder.side), vectors_of(encoder, text)
        hole = (~known).expand(len(image), *known.shape[1:]).to(targets.device)
        found = list[Tensor]()
        for i, one in enumerate(image):
            seen = views.plain(shown(one[None].to(targets), hole[i], self.crop))
            found.append(apart(encoder.image(seen), targets[i], self.distance))
        return torch.cat(found).cpu()

    def evaluate(self, edited: Images, image: Images, known: Mask, text: Texts) -> dict[str, float]:
        """How near the region is to the text, and whether anything else changed.

        similarity: 1 - distance, by the encoder that guided, which flatters. gain: that minus the same of the
        unedited picture. outside: largest change of a known value. seam: mean step across the edge of the
        region minus that of the picture; 0 is seamless.
        """
        encoder = encoder_of(self.encoder)
        after, before = (self.distances(encoder, x, known, text).mean() for x in (edited, image))
        outside = ((edited - image).abs() * known).max()
        return {
            "similarity": float(1 - after),
            "gain": float(before - after),
            "outside": float(outside),
            "seam": float(border_continuity(edited, image, known).mean()),
        }


def vectors_of(encoder: Encodes, text: Sequence[str]) -> Tensor:
    """The vector of each text (B, D), read by itself: no other text matters to it."""
    found = {one: encoder.text([one]) for one in dict.fromkeys(text)}
    return torch.cat([found[one] for one in text])


def apart(vectors: Tensor, target: Tensor, distance: Distance) -> Tensor:
    """The distance of unit vectors (K, D) from one (D,) or from one each, (K,)."""
    if distance == "cosine":
        return 1 - (vectors * target).sum(-1)
    return 2 * ((vectors - target).norm(dim=-1) / 2).arcsin().square()


def shown(picture: Tensor, hole: Tensor, crop: bool) -> Tensor:
    """A picture (1, C, H, W), grey outside of its hole (1, H, W); crop: the smallest square around it alone,
    or what of that the picture has room for."""
    picture = picture * hole
    if not crop or not bool(hole.any()):
        return picture
    spans = [hole[0].any(axis).nonzero()[:, 0] for axis in (1, 0)]
    side = max(int(span[-1] - span[0]) + 1 for span in spans)
    for axis, span in zip((-2, -1), spans, strict=True):
        length = min(side, picture.shape[axis])
        first = int(span[0] + span[-1] + 1 - length) // 2
        picture = picture.narrow(axis, min(max(first, 0), picture.shape[axis] - length), length)
    return picture


@dataclass(frozen=True, eq=False)
class Guide(Control):
    """Moves each step down the gradient of the loss with respect to x_t, of each picture on its own."""

    encoder: Encodes
    targets: Tensor
    """Vectors of the texts, (B, D)."""
    known: Tensor
    views: Views
    scale: float
    range_scale: float
    crop: bool = False
    distance: Distance = "cosine"
    by_score: bool = False
    """Move the score instead of the mean, for samplers without a variance."""
    given: Tensor | None = None
    hold: float = 0.0
    """Weight of the mean squared difference from `given` where it is known."""
    needs_grad = True

    def denoised(self, pred: Prediction) -> Prediction:
        if not self.by_score or pred.alpha is None or pred.sigma is None:
            return pred
        return pred.with_x0(pred.x0 - (pred.sigma * pred.sigma / pred.alpha) * self.gradient(pred))

    def transition(self, dist: Transition, pred: Prediction, s: int) -> Transition:
        if self.by_score or s == 0:  # the step into level 0 ends at the estimate
            return dist
        assert isinstance(dist, Gaussian)
        return dist.shift(-(dist.std * dist.std) * self.gradient(pred))

    def gradient(self, pred: Prediction) -> Tensor:
        """The gradient of the loss, (B, C, H, W)."""
        assert pred.sigma is not None
        f = fit(pred.sigma, pred.x)
        x_in = f * pred.x0 + (1 - f) * pred.x
        loss = self.range_scale * (pred.x0 - pred.x0.clamp(-1, 1)).square().flatten(1).mean(1).sum()
        if self.scale:
            loss = loss + (x_in * self.towards_text(x_in.detach())).sum()
        if self.hold and self.given is not None:
            loss = loss + self.hold * ((x_in - self.given) * self.known).square().flatten(1).mean(1).sum()
        return torch.autograd.grad(loss, pred.x)[0]

    def towards_text(self, x: Tensor) -> Tensor:
        """The gradient of scale D with respect to x (B, C, H, W)."""
        hole, drawn, found = ~self.known, self.views.draws(x), list[Tensor]()
        for i in range(len(x)):
            one, target = x[i : i + 1].clone().requires_grad_(), self.targets[i]
            seen = self.views(shown(one, hole[i], self.crop), drawn[i])
            loss = self.scale * apart(self.encoder.image(seen.to(target)), target, self.distance).mean()
            found.append(torch.autograd.grad(loss, one)[0])
        return torch.cat(found)


@dataclass(frozen=True, eq=False)
class Blend(GivenRegion):
    """Puts the picture in place where it is known after every step, as noisy as x was or is."""

    plan: Sequence[int] = ()
    late: bool = True

    def after(self, x: Tensor, s: int, step: int) -> Tensor:
        return self.put(x, self.plan[step] if self.late else s)
