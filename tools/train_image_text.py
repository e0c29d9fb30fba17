"""Train the shipped encoder of pictures and texts: `python tools/train_image_text.py [--steps N] --out DIR`.

Every second emoji of the training split with its name, so that the others can train a judge that owes it
nothing. `--out gallery/src/headwater_gallery/fitted/emoji-captions` puts it into the gallery.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from headwater.data import load
from headwater.errors import UserError
from headwater.metrics.dual_encoder import retrieve
from headwater.models import ImageTextEncoder

SIDE, WAYS = 32, 32


def found(encoder: ImageTextEncoder, images: Tensor, text: Sequence[str], pool: Sequence[str]) -> str:
    """Of the pictures all of whose words were trained on, those that find their text among 32."""
    rows = [i for i, one in enumerate(text) if encoder.network.known(one)]
    share = retrieve(encoder.network, images[rows], [text[i] for i in rows], pool, WAYS).accuracy
    return f"{share:.0%} of {len(rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the shipped encoder of pictures and texts.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=600, help="updates")
    args = parser.parse_args()
    train, test = (load("emoji", split, SIDE) for split in ("train", "test"))
    names, held_out = train.names or [], test.names or []
    since = time.perf_counter()
    encoder = ImageTextEncoder.train(train.images[::2], names[::2], 0, args.steps)
    took, pool = time.perf_counter() - since, [*names, *held_out]
    encoder.config.about.update(
        name="emoji-captions",
        data=f"emoji, every second of split train, {len(names[::2]):,} pictures with their names",
        steps=f"{args.steps}, pictures disturbed by up to 2",
        time=f"{took:.0f} s on one CPU core",
        metrics=f"own name found among {WAYS}: {found(encoder, test.images, held_out, pool)} held-out "
        f"pictures, {found(encoder, train.images[1::2], names[1::2], pool)} of the other half of train",
        made_by="tools/train_image_text.py",
        licence="MIT and Apache-2.0, as the pictures",
    )
    try:
        encoder.save_pretrained(args.out, torch.float16)
    except UserError as error:
        raise SystemExit(f"train_image_text: {error}") from None


if __name__ == "__main__":
    main()
