"""What DiffuSeq is measured against: the same network, reading from left to right, one word at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.data.tokenizer import Tokenizer
from headwater.methods.base import Texts
from headwater.methods.text.diffuseq.method import Pairs, pack
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.nets.bert import Past
from headwater.nets.text_denoiser import NextWord, TextDenoiserConfig
from headwater.noise import Purpose, derive
from headwater.sampling import Run, RunOptions
from headwater.training import TrainerConfig, train


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
        run, length = Run(**how), config.length - 1
        pairs = pack(tokenizer, source, target, config.length)
        place, causal = torch.arange(length, device=run.device), _causal(length, run.device)
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
        tokenizer, length = self.config.tokenizer, self.config.network.length
        self.network.to(run.device)
        for batch in run.batches(len(source)):
            ids = self._continued(pack(tokenizer, source[batch.rows], None, length), run.device)
            texts += tokenizer.decode(ids.cpu(), first=True)
            calls = max(calls, ids.shape[1])
        return texts, calls

    def _continued(self, pairs: Pairs, device: str) -> Tensor:
        """The words behind each source (B, words), until all texts have ended or a row is full."""
        tokenizer, length = self.config.tokenizer, self.config.network.length
        heads = [ids[~target] for ids, target in zip(pairs.ids, pairs.target, strict=True)]
        longest = max(map(len, heads))
        ids = torch.stack([F.pad(h, (longest - len(h), 0), value=tokenizer.pad) for h in heads]).to(device)
        real = torch.stack([torch.arange(longest) >= longest - len(h) for h in heads]).to(device)
        place = (real.cumsum(1) - 1).clamp(min=0)
        # Padding before a text sees itself: a row that sees nothing would be not a number.
        itself = torch.eye(longest, dtype=torch.bool, device=device)
        seen = _causal(longest, device) & real[:, None] | itself
        past = [Past() for _ in range(self.config.network.layers)]
        logits = self.network(ids, place, seen[:, None], past)
        written, last = list[Tensor](), place[:, -1:]
        ended = torch.zeros(len(ids), dtype=torch.bool, device=device)
        while True:
            word = logits[:, -1].argmax(-1).where(~ended, tokenizer.sep)
            written.append(word)
            ended, last = ended | (word == tokenizer.sep), last + 1
            if bool((ended | (last[:, 0] >= length)).all()):
                return torch.stack(written, 1)
            real = F.pad(real, (0, 1), value=True)
            logits = self.network(word[:, None], last.clamp(max=length - 1), real[:, None, None], past)


def _causal(length: int, device: str) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
