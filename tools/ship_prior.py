"""Put a trained prior into the gallery: `python tools/ship_prior.py NAME --trained DIR`.

DIR is what train_priors.py wrote. The weights are stored in half precision if the network's answers then
agree with the full ones to 1 % of their size at every tenth of the levels; otherwise nothing is written.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from headwater.gallery import folder
from headwater.models import Prior

TOLERANCE = 0.01


def disagreement(a: Prior, b: Prior) -> float:
    """Largest root-mean-square difference of the two networks' answers, relative to their size."""
    x = torch.randn(8, *a.shape, generator=torch.Generator().manual_seed(0))
    worst = 0.0
    with torch.no_grad():
        for t in range(a.process.T // 10, a.process.T + 1, a.process.T // 10):
            label = torch.full((8,), float(a.process.label[t]))
            full, half = a.network(x, label), b.network(x, label)
            worst = max(worst, float((full - half).square().mean().sqrt() / full.square().mean().sqrt()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--trained", type=Path, required=True)
    args = parser.parse_args()
    full = Prior.from_pretrained(str(args.trained / "prior"))
    with tempfile.TemporaryDirectory() as scratch:
        full.save_pretrained(Path(scratch) / "half", dtype=torch.float16)
        error = disagreement(full, Prior.from_pretrained(str(Path(scratch) / "half")))
    if error > TOLERANCE:
        raise SystemExit(f"half precision changes the answers by {error:.2%}: not shipped")
    about = {**full.config.about, "name": args.name, "half_precision_error": round(error, 6)}
    Prior(full.network, replace(full.config, about=about)).save_pretrained(
        folder("priors") / args.name, dtype=torch.float16
    )
    print(f"{args.name}: half precision changes the answers by {error:.3%}")


if __name__ == "__main__":
    main()
