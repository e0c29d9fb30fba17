"""What DiffuSeq is measured against: the same network, reading from left to right, one word at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.data.tokenizer import Tokenizer
from headwater.methods.base import Texts
from headwater.methods.text.diffuseq.method import pack
from headwater.models.filling import Parts
from headwater.models.pretrained import Pretrained
from headwater.modes import in_evaluation
from headwater.nets.text_denoiser import NextWord, TextDenoiserConfig
from headwater.noise import Purpose, derive
from headwater.sampling import Batch, Run, RunOptions
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
        run = Run(**how)
        pairs = pack(tokenizer, source, target, config.length)
        fitted = cls.fresh(
            AutoregressiveConfig(config, tokenizer), derive(run.seed, Purpose.AUTOREGRESSIVE_WEIGHTS)
        )

        def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
            batch = pairs.rows(rows).to(run.device)
            wanted = batch.ids.masked_fill(~batch.target | (batch.ids == tokenizer.pad), -100)[:, 1:]
            return F.cross_entropy(network(batch.ids[:, :-1]).flatten(0, 1), wanted.flatten())

        trained = train(fitted.network, loss, len(source), training, run)
        return replace(fitted, network=cast(NextWord, trained))

    @torch.inference_mode()
    @in_evaluation
    def write(
        self, source: Texts, temperature: float = 0.0, n: int = 1, **how: Unpack[RunOptions]
    ) -> tuple[list[str], int]:
        """n continuations of each source, those of one source together, and the network calls per batch at
        most: words are drawn at a temperature, and at 0 the likeliest taken.

        Keys and values of earlier words are kept, so a call costs one word. Draw k of source i depends on the
        seed, k and i alone.
        """
        run, texts, calls = Run(**how), list[str](), 0
        tokenizer, length = self.config.tokenizer, self.config.network.length
        self.network.to(run.device)
        for batch in run.batches(len(source), draws=n):
            pairs = pack(tokenizer, source[batch.rows], None, length)
            heads = [ids[~target] for ids, target in zip(pairs.ids, pairs.target, strict=True)]
            longest = max(map(len, heads))
            ids = torch.stack([F.pad(h, (longest - len(h), 0), value=tokenizer.pad) for h in heads])
            real = torch.stack([torch.arange(longest) >= longest - len(h) for h in heads])

            def drawn(logits: Tensor, batch: Batch = batch) -> Tensor:
                uniform = torch.special.ndtr(batch.noise(logits.double())).clamp(1e-12, 1 - 1e-12)
                return (logits / temperature - (-uniform.log()).log()).argmax(-1)

            words = self.network.continued(
                batch.repeat(ids).to(run.device),
                batch.repeat(real).to(run.device),
                tokenizer.sep,
                drawn if temperature else None,
            )
            texts += tokenizer.decode(words.cpu(), first=True)
            calls = max(calls, words.shape[1])
        return texts, calls
