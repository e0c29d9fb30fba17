"""What DiffuSeq is measured against: the same network, reading from left to right, one word at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.data.tokenizer import Tokenizer
from headwater.methods.base import Texts
from headwater.methods.text.diffuseq.method import Pairs, pack, targets
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.bert import Past
from headwater.nets.text_denoiser import TextDenoiser, TextDenoiserConfig
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig, train


class NextWord(nn.Module):
    """`TextDenoiser` without its time: logits of the word after each position, which sees those before it."""

    def __init__(self, config: TextDenoiserConfig) -> None:
        super().__init__()
        self.body = TextDenoiser(config)
        self.body.time = nn.Sequential()

    def forward(self, ids: Tensor, place: Tensor, seen: Tensor, past: list[Past] | None = None) -> Tensor:
        """ids, place (B, L) int64 -> (B, L, V). place: positions in the row; seen: as `Encoder`'s."""
        codec, body = self.body.codec(), self.body
        h = body.drop(body.norm(body.up(codec.encode(ids)) + body.position[place]))
        return codec.logits(body.down(body.encoder(h, seen, past)))


@dataclass(frozen=True)
class AutoregressiveConfig:
    """Sizes and vocabulary."""

    network: TextDenoiserConfig
    tokenizer: Tokenizer


@dataclass(frozen=True, eq=False)
class Autoregressive(Pretrained):
    """A trained network and its vocabulary."""

    network: NextWord
    config: AutoregressiveConfig

    kind = "autoregressive"

    @classmethod
    def networks(cls, config: AutoregressiveConfig) -> Parts:
        return {"network": NextWord(config.network)}

    @classmethod
    def fit(
        cls,
        source: Texts,
        target: Texts,
        tokenizer: Tokenizer,
        config: TextDenoiserConfig,
        training: TrainerConfig,
        **how: Unpack[RunOptions],
    ) -> Autoregressive:
        """Learn to continue source[i] by target[i] and its [SEP], by cross entropy."""
        run = Run(**how)
        pairs = pack(tokenizer, source, target, config.length)
        place = torch.arange(config.length - 1, device=run.device)[None]
        causal = torch.ones(config.length - 1, config.length - 1, dtype=torch.bool, device=run.device).tril()
        fitted = cls.fresh(
            AutoregressiveConfig(config, tokenizer), derive(run.seed, Purpose.AUTOREGRESSIVE_WEIGHTS)
        )

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            batch = pairs.rows(rows).to(run.device)
            wanted = batch.ids.masked_fill(~batch.target | (batch.ids == tokenizer.pad), -100)[:, 1:]
            logits = network(batch.ids[:, :-1], place.expand(len(wanted), -1), causal)
            return F.cross_entropy(logits.flatten(0, 1), wanted.flatten())

        trained = train(fitted.network, loss, len(source), training, run)
        return replace(fitted, network=cast(NextWord, trained))

    @torch.inference_mode()
    def write(self, source: Texts, **how: Unpack[RunOptions]) -> tuple[list[str], int]:
        """The greedy continuation of each source, and the network calls per batch at most.

        Keys and values of earlier words are kept, so a call costs one word.
        """
        run, texts, calls = Run(**how), list[str](), 0
        self.network.to(run.device)
        for batch in run.batches(len(source)):
            pairs = pack(self.config.tokenizer, source[batch.rows], None, self._length)
            written, n = self._batch(pairs, run.device)
            calls = max(calls, n)
            texts += targets(
                self.config.tokenizer, Pairs(written.cpu(), torch.ones_like(written.cpu()).bool())
            )
        return texts, calls

    @property
    def _length(self) -> int:
        return self.config.network.length

    def _batch(self, pairs: Pairs, device: str) -> tuple[Tensor, int]:
        heads = [ids[~target] for ids, target in zip(pairs.ids, pairs.target, strict=True)]
        longest = max(map(len, heads))
        ids = torch.stack([F.pad(h, (longest - len(h), 0), value=self.config.tokenizer.pad) for h in heads])
        real = torch.stack([torch.arange(longest) >= longest - len(h) for h in heads]).to(device)
        ids, place = ids.to(device), (real.cumsum(1) - 1).clamp(min=0)
        causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        # Padding before a text sees itself: a row that sees nothing would be not a number.
        seen = causal & real[:, None] | torch.eye(longest, dtype=torch.bool, device=device)
        past = [Past() for _ in range(self.config.network.layers)]
        logits = self.network(ids, place, seen[:, None], past)
        written: list[Tensor] = []
        ended = torch.zeros(len(ids), dtype=torch.bool, device=device)
        last = place[:, -1:]
        while True:
            word = logits[:, -1].argmax(-1).where(~ended, self.config.tokenizer.sep)
            written.append(word)
            ended, last = ended | (word == self.config.tokenizer.sep), last + 1
            if bool((ended | (last[:, 0] >= self._length)).all()):
                return torch.stack(written, 1), len(written)
            real = F.pad(real, (0, 1), value=True)
            logits = self.network(word[:, None], last.clamp(max=self._length - 1), real[:, None, None], past)
