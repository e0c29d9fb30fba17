"""A classifier behind a purifier: one module from pictures in [0, 1] to logits, open to attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import Tensor, nn

from headwater.errors import need
from headwater.models import Prior
from headwater.noise import Stream, derive


class Purifier(Protocol):
    """What a purification method offers to `Purified`: one pass, differentiable in x."""

    def purify(self, prior: Prior, x: Tensor, noise: Stream) -> Tensor:
        """Clean x (B, C, H, W) in [-1, 1]; row i depends on x[i] and generator i of `noise` alone.

        Where gradients are enabled the result carries them, in memory that does not hold every activation.
        """
        ...


class Purified(nn.Module):
    """logits = classifier((purify(2 image - 1) + 1) / 2), the purified picture not clamped.

    classifier: any module from pictures (B, C, H, W) in [0, 1] to logits (B, K).
    noise: `fresh`, new at each call, as a deployed defence would, a function of (seed, call, first + row);
        or `fixed`, the same noise for row i at every call, which shows what the defence owes to chance.

    Gradients are exact. Raises UserError for pictures of another size than the prior's, or outside [0, 1].
    """

    def __init__(
        self,
        classifier: nn.Module,
        prior: Prior,
        purifier: Purifier,
        noise: Literal["fresh", "fixed"] = "fresh",
        *,
        seed: int = 0,
        first: int = 0,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.network = prior.network  # registered, so that the module moves as one
        self.prior, self.purifier, self.noise = prior, purifier, noise
        self.seed, self.first = seed, first
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        call = 0 if self.noise == "fixed" else self.calls
        self.calls += 1
        rows = range(self.first, self.first + len(images))
        return self.seeded(images, [derive(self.seed, call, i) for i in rows])

    def seeded(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Logits where every draw for image i is a function of seeds[i] alone."""
        return self.classifier(self.purified(images, seeds))

    def purified(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """The pictures that the classifier is shown, (B, C, H, W) about [0, 1]."""
        size, wanted = tuple(images.shape[1:]), tuple(self.prior.shape)
        need(
            size == wanted,
            f"the pictures are {size}, this prior draws {wanted}: resize them or take another prior",
        )
        outside = images.numel() > 0 and not bool(((images >= -1e-4) & (images <= 1 + 1e-4)).all())
        need(not outside, "pictures for a classifier lie in [0, 1]: rescale them")
        stream = self.prior.noise.stream(seeds)
        return (self.purifier.purify(self.prior, images * 2 - 1, stream) + 1) / 2


class OnUnitRange(nn.Module):
    """A classifier of pictures in [-1, 1] as one of pictures in [0, 1]."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(images * 2 - 1)
