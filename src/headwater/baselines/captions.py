"""What CLIP-Diffusion-LM is measured against: the same network, writing a caption from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.methods.text.clip_diffusion_lm.method import FittedCaptioner, encoded, rows_of
from headwater.nets.caption_denoiser import CaptionDenoiser, CaptionDenoiserConfig
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig, train


class NextCaptionWord(nn.Module):
    """`CaptionDenoiser` without its text features: logits of each word, which sees the picture and the words
    before it."""

    def __init__(self, config: CaptionDenoiserConfig) -> None:
        super().__init__()
        self.body = CaptionDenoiser(replace(config, words="trained", fusion="add"))

    def forward(self, ids: Tensor, image: Tensor) -> Tensor:
        """ids (B, L) int64 and features (B, D) -> (B, L + 1, V): the picture stands before the first word."""
        body = self.body
        h = torch.cat([body.image(image)[:, None], body.up(body.codec.encode(ids))], 1)
        h = body.drop(body.norm(h + body.position[: h.shape[1]]))
        before = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool, device=h.device).tril()
        h = body.encoder(h, before)
        return body.codec.logits(body.down(body.transform_norm(F.gelu(body.transform(h)))))


@dataclass(frozen=True, eq=False)
class LeftToRight:
    """Trained on the features, words and sizes of a captioner, by cross entropy of the next word."""

    captioner: FittedCaptioner
    network: NextCaptionWord

    @classmethod
    def fit(
        cls,
        image: Tensor,
        caption: Sequence[str],
        captioner: FittedCaptioner,
        training: TrainerConfig,
        **how: Unpack[RunOptions],
    ) -> LeftToRight:
        """Learn to write caption[i] for image[i], seen as the captioner sees it."""
        run, tokenizer = Run(**how), captioner.config.tokenizer
        features = encoded(captioner.encoders.image, image)
        ids = rows_of(tokenizer, caption, captioner.network.config.length)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(run.seed, Purpose.AUTOREGRESSIVE_WEIGHTS))
            network = NextCaptionWord(captioner.config.network)

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            some, seen = ids[rows].to(run.device), features[rows].to(run.device)
            wanted = some.masked_fill(some == tokenizer.pad, -100)
            return F.cross_entropy(network(some[:, :-1], seen).flatten(0, 1), wanted.flatten())

        return cls(captioner, train(network, loss, len(ids), training, run))  # pyright: ignore[reportArgumentType]

    @torch.inference_mode()
    def write(self, image: Tensor) -> list[str]:
        """The greedy caption of each picture."""
        features = encoded(self.captioner.encoders.image, image)
        ids = torch.empty(len(image), 0, dtype=torch.int64)
        for _ in range(self.captioner.network.config.length):
            ids = torch.cat([ids, self.network(ids, features)[:, -1:].argmax(-1)], 1)
        return self.captioner.config.tokenizer.decode(ids, first=True)
