"""GLIDE: draw what a caption says, with classifier-free guidance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import ClassVar, Unpack

from headwater.core.prediction import Target, Variance
from headwater.data.resize import area
from headwater.data.tokenizer import Tokenizer
from headwater.errors import need
from headwater.methods.base import Images, Method, Paper, Texts
from headwater.methods.synthesis.shared.caption_training import WEIGHTS, check_pairs, learn
from headwater.methods.synthesis.shared.drawing import draw
from headwater.methods.synthesis.shared.fitted_glide import FittedGlide, GlideConfig
from headwater.metrics.dual_encoder import diversity, retrieve, train_dual_encoder
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.text2im import Text2ImConfig
from headwater.nets.text_encoder import TextConfig
from headwater.noise import derive
from headwater.sampling import Run, RunOptions, SamplerName
from headwater.training import TrainerConfig


@dataclass(frozen=True)
class Glide(Method):
    """A transformer reads the caption once; the U-Net reads what it made of it at every level.

        (u, c)  = transformer(caption)                       u (B, E) from the last token, c (B, L, W)
        emb     = time(t) + u;   attention over [c, pixels]  in every attention block
        eps^    = eps(x_t, "") + guidance_scale (eps(x_t, caption) - eps(x_t, ""))  one call of 2 B rows
        x_t-1   ~ N(mean(x_t, clipped x0 of eps^), the variance that the network learned for the caption)

    Captions are emptied with probability `caption_dropout` in training, so one network knows both. Defaults
    are the released model's, GLIDE (filtered); recipes/paper.yaml is the paper's own size.

    Deviates from the paper: captions are emptied from the first step on, not in a second stage of training;
    lr and ema, which it does not give, are guided diffusion's; levels are spread evenly over a batch. From
    the reference code: the vocabulary may be trained in `fit`; guided samples need one chain, not two.
    """

    paper: ClassVar[Paper] = Paper(
        title="GLIDE: Towards Photorealistic Image Generation and Editing with Text-Guided Diffusion Models",
        authors="Alex Nichol, Prafulla Dhariwal, Aditya Ramesh, Pranav Shyam, Pamela Mishkin, Bob McGrew, "
        "Ilya Sutskever, Mark Chen",
        year=2022,
        venue="ICML",
        arxiv="2112.10741",
        code="openai/glide-text2im",
        claim="Classifier-free guidance makes pictures match their captions better, at the price of variety.",
    )
    needs: ClassVar[tuple[str, ...]] = ("pictures with a caption each",)
    applied: ClassVar[tuple[str, ...]] = ("guidance_scale", "steps", "sampler")

    tokenizer: str = "bpe"
    """`bpe` or `word` trains one on the captions, any other word names a published one."""
    vocabulary: int = 50_257
    """Entries of a trained tokenizer at most."""
    length: int = 128
    """Tokens of a caption."""
    text_width: int = 512
    """Channels of the transformer that reads captions."""
    text_layers: int = 16
    """Its layers."""
    text_heads: int = 8
    """Its attention heads."""
    network: UNetArchitecture = field(
        default_factory=lambda: UNetArchitecture(
            192, (1, 2, 3, 4), 3, (2, 4, 8), num_head_channels=64, dropout=0.1, resblock_updown=True
        )
    )
    T: int = 1000
    """Levels of the process."""
    betas: str = "cosine"
    """Its schedule."""
    predicts: Target = "eps"
    """What the network answers: eps, x0, v or score."""
    variance: Variance = "learned_range"
    """fixed, or learned by the network (Nichol & Dhariwal 2021)."""
    caption_dropout: float = 0.2
    """Share of captions that are emptied in training."""
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(2_500_000, 2048, 1e-4, ema=0.9999))
    guidance_scale: float = 3.0
    """Scale of the classifier-free guidance: 1 does not guide, 0 ignores the caption."""
    steps: str = "150"
    """Levels visited: a number, counts per section ("10,10,3,2,2"), "ddim50" or "fast27"."""
    sampler: SamplerName = "ancestral"
    """Sampler of the steps; all but `ancestral` want fewer of them."""

    def fit(self, image: Images, text: Texts, **how: Unpack[RunOptions]) -> FittedGlide:
        """Learn to draw image[i] for text[i]. Raises UserError where they cannot be paired."""
        run = Run(**how)
        check_pairs(image, text)
        tokenizer = Tokenizer.of(self.tokenizer, text, self.vocabulary)
        channels = image.shape[1]
        config = self.described(self.sizes(channels, channels, tokenizer.size), tokenizer, image)
        fitted = FittedGlide.fresh(config, derive(run.seed, WEIGHTS))
        return learn(fitted, image, text, self.caption_dropout, self.training, run, self.learnt())

    def apply(self, text: Texts, fitted: FittedGlide, **how: Unpack[RunOptions]) -> Images:
        """Draw one picture for each caption, (B, C, H, W) in [-1, 1]; an empty caption asks for nothing.

        Picture i depends on run.seed, i and its caption alone.
        """
        need(len(text) > 0, "there is no caption to draw")
        return draw(self, fitted, text, Run(**how))

    def evaluate(self, drawn: Images, text: Texts, truth: Images) -> dict[str, float]:
        """Judge drawn[i] of text[i] by a dual encoder trained here on real pictures, truth[i] for text[i].

        retrieval: share of drawings nearer to their own text than to 31 others (fewer if there are fewer).
        similarity: mean cosine. diversity: mean distance of two drawings, 1 - cosine. All are as good as
        the judge, which wants hundreds of pictures and sees them at 32x32 at most. Raises UserError for
        fewer than two different texts.
        """
        pool, side = sorted(set(text)), min(32, min(truth.shape[-2:]) // 8 * 8)
        need(len(pool) > 1, "there is one caption only: retrieval needs at least two different ones")
        need(side > 0, "the judge wants pictures of 8x8 or more")
        drawn, truth = (area(pictures, side, side) for pictures in (drawn, truth))
        judge = train_dual_encoder(truth, text, seed=0, progress=True)
        found = retrieve(judge, drawn, text, pool, min(32, len(pool)))
        return {
            "retrieval": found.accuracy,
            "similarity": float(found.similarity.mean()),
            "diversity": diversity(judge, drawn),
        }

    def sizes(self, channels: int, reads: int, vocabulary: int) -> Text2ImConfig:
        """The network for pictures of some channels whose first layer reads `reads`."""
        text = TextConfig(vocabulary, self.length, self.text_width, self.text_layers, self.text_heads)
        out = channels * (1 if self.variance == "fixed" else 2)
        return Text2ImConfig(in_channels=reads, out_channels=out, text=text, **asdict(self.network))

    def described(self, network: Text2ImConfig, tokenizer: Tokenizer, image: Images) -> GlideConfig:
        """The config of what learns from such pictures."""
        channels, height, width = image.shape[1:]
        process = (self.T, self.betas, self.predicts, self.variance)
        return GlideConfig(network, tokenizer, (channels, height, width), *process)
