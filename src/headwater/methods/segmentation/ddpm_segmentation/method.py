"""DDPM-Seg: label every pixel from a few labelled pictures and the inner features of a frozen prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Unpack

import torch

from headwater.errors import need
from headwater.methods.base import Images, Labels, Method, Paper
from headwater.methods.segmentation.ddpm_segmentation.decoder_features import read_features, shared_noise
from headwater.methods.segmentation.ddpm_segmentation.fitted import PixelClassifiers
from headwater.methods.segmentation.ddpm_segmentation.pixel_classifier import (
    Segmentation,
    image_uncertainty,
    predict,
)
from headwater.methods.segmentation.ddpm_segmentation.pixel_training import fit_pixels
from headwater.metrics.segmentation import mean_iou, mean_iou_ddpm_seg
from headwater.models import Prior
from headwater.sampling import Run, RunOptions


@dataclass(frozen=True)
class DDPMSegmentation(Method):
    """Noise a picture mildly, read the decoder once per noise level, classify each pixel by what was read
    (Baranchuk et al. 2022, sec. 4).

        x_t   = alpha_t x_0 + sigma_t e          one field e for all pictures, levels and both splits
        f(p)  = (block b of the network at (x_t, t), resized to H x W, at p)   for t in steps, b in blocks
        label = most frequent argmax of the classifiers on f(p)
        doubt = H(mean_k p_k) - mean_k H(p_k)

    Memory: the maps of the labelled pictures at their own resolution while fitting (100 MB each for the
    paper's 256 x 256 network, instead of 2.2 GB for D = 8448 numbers a pixel), and those of one batch
    plus about four hidden layers while predicting. No tensor of D x H x W exists; logits equal the naive
    way's.

    Deviates from the reference code: the annotator's slips are masked, not edited into the labels; all
    classifiers are trained side by side in one product; the noise is kept with them, so a prediction needs
    no shared seed; any noise law and process of a prior may be used.
    """

    paper: ClassVar[Paper] = Paper(
        title="Label-Efficient Semantic Segmentation with Diffusion Models",
        authors="Dmitry Baranchuk, Ivan Rubachev, Andrey Voynov, Valentin Khrulkov, Artem Babenko",
        year=2022,
        venue="ICLR",
        arxiv="2112.03126",
        code="yandex-research/ddpm-segmentation",
        claim="Inner features of a diffusion prior, read at small noise in the middle of the decoder, "
        "segment pictures from a few labels better than other features and supervised training.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "an unconditional prior of such pictures",
        "20 to 50 pictures with label maps",
    )

    steps: tuple[int, ...] = (50, 150, 250)
    """Timesteps as the paper numbers them, from 0: level t + 1 of the prior."""
    blocks: tuple[int, ...] = (5, 6, 7, 8, 12)
    """Decoder blocks, 0 being the deepest. The default suits 18 blocks; a smaller network needs others."""
    ensemble: int = 10
    """Number of pixel classifiers."""
    epochs: int = 100
    """Most passes over the labelled pixels."""
    pixels: int = 64
    """Pixels in a minibatch."""
    lr: float = 1e-3
    """Adam's learning rate."""
    patience: int = 50
    """From the fifth pass on, stop after more minibatches than this without a new lowest loss."""
    smallest: int = 20
    """A class with fewer pixels in a picture counts as a slip there and is not learnt from."""
    ignore: int = 255
    """The label of pixels not to learn from and not to count."""
    stored: Literal["float32", "float16"] = "float32"
    """How the maps of the labelled pictures are kept while fitting: float16, the precision of the published
    networks, takes half of the memory."""

    def fit(self, prior: Prior, image: Images, labels: Labels, **how: Unpack[RunOptions]) -> PixelClassifiers:
        """Train the pixel classifiers; the prior stays as it is.

        image: (N, C, H, W) in [-1, 1]. labels: int64 (N, H, W), 0 to classes - 1 or `ignore`.
        Raises UserError when shapes disagree, or the prior lacks a step or block.
        """
        run = Run(**how)
        need(
            labels.shape == (len(image), *image.shape[-2:]),
            f"label maps are {tuple(labels.shape)}, pictures "
            f"{tuple(image.shape)}: give one label map of the same size for each picture",
        )
        blocks = tuple(sorted(set(self.blocks)))
        noise = shared_noise(prior, image, run)
        need(self.stored in ("float32", "float16"), f"stored is {self.stored!r}: choose float32 or float16")
        maps = read_features(prior, image, self.steps, blocks, noise, run, getattr(torch, self.stored))
        return PixelClassifiers.of(fit_pixels(self, maps, labels, run), noise, self.steps, blocks)

    def apply(
        self, prior: Prior, image: Images, fitted: PixelClassifiers, **how: Unpack[RunOptions]
    ) -> Segmentation:
        """Label every pixel. image: (B, C, H, W) in [-1, 1], of the size that was fitted on."""
        run = Run(**how)
        size, found = (image.shape[-2], image.shape[-1]), []
        for batch in run.track(run.batches(len(image)), "pictures"):
            maps = fitted.read(prior, image[batch.rows], run)
            found.append([v.cpu() for v in predict(fitted.network, maps, size)])
        labels, uncertainty = (torch.cat(v) for v in zip(*found, strict=True))
        return Segmentation(labels, uncertainty, image_uncertainty(uncertainty))

    def evaluate(self, labels: Labels, truth: Labels) -> dict[str, float]:
        """Agreement of int64 (B, H, W) label maps, pixels whose truth is `ignore` left out.

        miou: the standard rule. miou_reference: the reference code's, for comparison with the paper only.
        """
        seen = truth != self.ignore
        need(bool(seen.any()), "every true label is the ignored one: check ignore")
        classes = int(torch.cat([labels[seen], truth[seen]]).max()) + 1
        return {
            "miou": mean_iou(labels, truth, classes, self.ignore),
            "miou_reference": mean_iou_ddpm_seg(labels, truth, classes, self.ignore),
            "accuracy": float((labels == truth)[seen].double().mean()),
        }
