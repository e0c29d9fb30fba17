"""SHA-256 of what every verb writes with small inputs, to show that a change of structure changed no number.

    python tools/output_hashes.py --write before.json        # on the old tree
    python tools/output_hashes.py --compare before.json      # on the new one, on the same machine

Outputs of `apply`, `evaluate`, `sample` with shipped weights are hashed file by file; what `fit` makes in two
steps by its tensors in order of their bytes, whatever they are called. Bits differ between processors, so a
record holds for the machine that made it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HEADWATER_TRACEBACK"] = "1"

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from headwater.cli import main
from headwater.data import load

torch.set_num_threads(1)
SUFFIXES = (".png", ".npy", ".csv", ".jsonl", ".gz")
TRAINING = {"steps": 2, "batch_size": 2, "lr": 0.001}
TEXTS = ["the river runs to the sea and the sea is not full", "a word is a thing that is said"] * 6


def inputs(at: Path) -> None:
    """Small files of every kind below a folder."""
    (at / "recipes").mkdir(parents=True)

    def pictures(folder: str, images: torch.Tensor) -> None:
        (at / folder).mkdir()
        for i, image in enumerate(images):
            pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1)
            Image.fromarray(pixels.numpy()).save(at / folder / f"p{i}.png")

    pictures("some-digits", load("digits", "test").images[:3])
    pictures("some-slices", load("brain", "test", 32).images[:2])
    emoji = load("emoji-parts", "pool")
    pictures("parts", emoji.images[:3])
    pictures("colour", torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    for folder, maps in (("part-labels", emoji.labels[:3]), ("masks", torch.zeros(3, 24, 24))):
        (at / folder).mkdir()
        for i, labels in enumerate(maps):
            if folder == "masks":
                labels[4 + i : 16, 6:20] = 255
            Image.fromarray(labels.to(torch.uint8).numpy()).save(at / folder / f"p{i}.png")
    for side, name in ((32, "known"), (24, "known24")):
        known = np.full((side, side), 255, np.uint8)
        known[8:20, 8:18] = 0
        Image.fromarray(known).save(at / f"{name}.png")
    (at / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    (at / "holes.txt").write_text("the river ___s to\na ____ is a thing\n")
    (at / "sources.txt").write_text("And he went unto the city.\nThou shalt not steal.\n")
    rows = [
        {"name": f"p{i}.png", "text": t, "caption": t}
        for i, t in enumerate(("a red heart", "a sad cat", "sun"))
    ]
    (at / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"name": str(i), "source": t, "target": t[:12]} for i, t in enumerate(TEXTS)]
    (at / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    (at / "prompts.txt").write_text("a red heart\na sad cat\n")
    for name, gaps in (("truth", False), ("series", True)):
        rng, lines = np.random.default_rng(0), ["time,pm2.5,DEWP,TEMP,PRES,Iws"]
        for hour in range(30):
            values = [90 + 5 * hour + rng.normal(), -3 + rng.normal(), 10 + rng.normal(), 1015, 20 + hour]
            cells = ["" if gaps and (hour + k) % 4 == 0 else f"{v:.3f}" for k, v in enumerate(values)]
            lines.append(f"2014-01-{1 + hour // 24:02d} {hour % 24:02d}:00:00," + ",".join(cells))
        (at / f"{name}.csv").write_text("\n".join(lines) + "\n")
    slices = (load("brain", "test", 32).images[:2, 0].numpy() + 1) / 2
    for folder in ("kspace", "magnitude"):
        (at / folder).mkdir()
    for i, picture in enumerate(slices):
        k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(picture), norm="ortho")).astype(np.complex64)
        k[:, [c for c in range(32) if c % 3 and not 10 <= c < 22]] = 0
        np.save(at / "kspace" / f"p{i}.npy", k)
        np.save(at / "magnitude" / f"p{i}.npy", picture.astype(np.float32))


UNET = {"model_channels": 32, "channel_mult": [1], "num_res_blocks": 1, "attention_resolutions": [1]}
TINY = {
    "d3pm": {"T": 8, "length": 16, "width": 16, "layers": 1, "heads": 2, "steps": 8, "levels": 4},
    "diffuseq": {
        "T": 8, "length": 24, "tokenizer": "word", "vocabulary": 60, "dim": 8, "hidden": 16, "layers": 1,
        "heads": 2, "feedforward": 16, "steps": 4, "candidates": 2, "dropout": 0.0,
    },
    "clip-diffusion-lm": {
        "size": 24, "features": "trained", "feature_steps": 2, "tokenizer": "word", "vocabulary": 30,
        "words": "trained", "length": 5, "dim": 8, "hidden": 16, "layers": 1, "heads": 2, "feedforward": 16,
        "T": 10, "levels": 3, "dropout": 0.0,
    },
    "csdi": {"length": 12, "layers": 1, "channels": 8, "heads": 2, "step_dim": 8, "time_dim": 8,
             "feature_dim": 4, "samples": 2, "chain": {"T": 6}},
    "segdiff": {"samples": 2, "steps": 4, "T": 24, "encoder_blocks": 1, "encoder_width": 8,
                "encoder_growth": 4, "network": UNET | {"num_heads": 1}},
    "implicit-ensembles": {"samples": 2, "steps": 4, "T": 24, "network": UNET | {"num_heads": 1}},
    "d3pm-images": {"K": 4, "T": 6, "network": UNET, "steps": 6, "levels": 3},
    "glide": {"tokenizer": "word", "vocabulary": 20, "length": 4, "text_width": 8, "text_layers": 1,
              "text_heads": 2, "T": 20, "steps": "4",
              "network": UNET | {"num_head_channels": 32}},
    "ddpm-segmentation": {"steps": [50], "blocks": [2, 4], "ensemble": 2, "epochs": 1},
}  # fmt: skip
TINY["glide-inpaint"] = TINY["glide"]
FIT = {
    "d3pm": ("--text", "texts.txt"),
    "diffuseq": ("--source", "pairs.jsonl", "--target", "pairs.jsonl"),
    "clip-diffusion-lm": ("--image", "colour", "--caption", "captions.jsonl"),
    "csdi": ("--series", "series.csv"),
    "segdiff": ("--image", "colour", "--labels", "masks"),
    "implicit-ensembles": ("--image", "colour", "--labels", "masks"),
    "d3pm-images": ("--image", "colour"),
    "glide": ("--image", "colour", "--text", "captions.jsonl"),
    "glide-inpaint": ("--image", "colour", "--text", "captions.jsonl"),
    "ddpm-segmentation": ("--prior", "emoji-parts", "--image", "parts", "--labels", "part-labels"),
}
APPLY = {
    "repaint": ("--prior", "digits", "--image", "some-digits", "--known", "known.png", "--steps", "6",
                "--jump", "2", "--resample", "2"),
    "anoddpm": ("--prior", "brain-simplex", "--image", "some-slices", "--level", "6",
                "--reconstructions", "2"),
    "anoddpm/steps": ("--prior", "brain", "--image", "some-slices", "--level", "60", "--steps", "4"),
    "diffpure": ("--prior", "digits", "--image", "some-digits", "--steps", "4"),
    "diffpure/ode": ("--prior", "digits", "--image", "some-digits", "--steps", "4", "--kind", "ode"),
    "diffpure/ddpm": ("--prior", "digits", "--image", "some-digits", "--steps", "4", "--kind", "ddpm"),
    "score-mri": ("--prior", "brain", "--kspace", "kspace", "--steps", "5", "--samples", "2"),
    "score-mri/real": ("--prior", "brain", "--kspace", "kspace", "--steps", "5", "--image", "real"),
    "segdiff": ("--fitted", "segdiff-skin-0", "--image", "colour", "--steps", "3", "--samples", "2"),
    "diffuseq": ("--fitted", "diffuseq-verses", "--source", "sources.txt", "--steps", "4",
                 "--candidates", "2"),
    "clip-diffusion-lm": ("--fitted", "clip-diffusion-lm", "--image", "parts"),
    "csdi": ("--fitted", "csdi-air-0", "--series", "series.csv", "--samples", "3", "--steps", "4"),
    "csdi/plain": ("--fitted", "csdi-air-0-unconditional", "--series", "series.csv", "--samples", "3"),
    "glide": ("--fitted", "glide", "--text", "prompts.txt", "--steps", "4"),
    "glide-inpaint": ("--fitted", "glide-inpaint", "--text", "captions.jsonl", "--image", "parts", "--known",
                      "known.png", "--steps", "4"),
    "d3pm": ("--text", "holes.txt"),
    "implicit-ensembles": ("--image", "colour"),
    "d3pm-images": ("--image", "colour", "--known", "known24.png"),
    "ddpm-segmentation": ("--image", "parts"),
}  # fmt: skip
EVALUATE = {
    "repaint": ("--truth", "some-digits", "--known", "known.png"),
    "anoddpm": ("--truth", "known.png"),
    "diffpure": ("--truth", "some-digits"),
    "score-mri": ("--truth", "magnitude"),
    "segdiff": ("--truth", "masks"),
    "diffuseq": ("--truth", "sources.txt"),
    "csdi": ("--truth", "truth.csv", "--series", "series.csv"),
    "glide-inpaint": ("--truth", "parts", "--known", "known.png"),
    "d3pm": (),
    "implicit-ensembles": ("--truth", "masks"),
    "d3pm-images": (),
    "ddpm-segmentation": ("--truth", "part-labels"),
}
SAMPLE = {
    "digits": ("--steps", "5"),
    "emoji": ("--steps", "5", "--sampler", "ddim"),
    "brain": ("--steps", "5", "--sampler", "dpm-solver"),
    "brain-simplex": ("--steps", "6", "--sampler", "ancestral"),
    "emoji-parts": ("--steps", "5", "--sampler", "heun"),
}
PRIOR = {
    "data": "digits", "sample_every": 0, "training": {"steps": 2, "batch_size": 2, "log_every": 1},
    "network": {"model_channels": 32, "channel_mult": [1], "attention_resolutions": []},
}  # fmt: skip


def files_of(out: Path) -> dict[str, str]:
    """Hashes of the results below a folder."""
    found = sorted(p for p in out.rglob("*") if p.suffix in SUFFIXES and "checkpoints" not in p.parts)
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def tensors_of(folder: Path) -> str:
    """One hash of all tensors below a folder, whatever their names."""
    digests = []
    for path in sorted(folder.rglob("*.safetensors")):
        for tensor in load_file(path).values():
            data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            digests.append(hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode() + data).hexdigest())
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def call(*words: object) -> str:
    """One command line; what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = main([str(word) for word in words])
    if code:
        raise RuntimeError(f"exit {code}")
    return said.getvalue()


def run(at: Path) -> Iterator[tuple[str, object]]:
    """Every command in turn: its name and its hashes."""
    inputs(at)
    os.chdir(at)
    for name, words in SAMPLE.items():
        call("sample", name, "--n", 2, *words, "--out", f"sample-{name}")
        yield f"sample {name}", files_of(at / f"sample-{name}")
    (at / "recipes/prior.yaml").write_text(yaml.safe_dump(PRIOR))
    call("fit", "prior", "digits", "--recipe", "recipes/prior.yaml", "--out", "fit-prior")
    yield "fit prior", tensors_of(at / "fit-prior/prior")
    call("fit", "prior", "--data", "digits", "--recipe", "recipes/prior.yaml", "--out", "fit-anoddpm")
    yield "fit anoddpm", tensors_of(at / "fit-anoddpm/prior")
    for name, words in FIT.items():
        values = TINY[name] | ({} if name == "ddpm-segmentation" else {"training": TRAINING})
        (at / f"recipes/{name}.yaml").write_text(yaml.safe_dump(values))
        call("fit", name, *words, "--recipe", f"recipes/{name}.yaml", "--out", f"fit-{name}")
        yield f"fit {name}", tensors_of(at / f"fit-{name}/fitted")
    for name, words in APPLY.items():
        method, out = name.partition("/")[0], f"apply-{name.replace('/', '-')}"
        fitted = () if "--fitted" in words or "--prior" in words else ("--fitted", f"fit-{method}")
        call("apply", method, *fitted, *words, "--out", out)
        yield f"apply {name}", files_of(at / out)
    for name, words in EVALUATE.items():
        said = call("evaluate", name, "--result", f"apply-{name}", *words, "--json")
        yield f"evaluate {name}", json.loads(said)


def held(value: object) -> object:
    """What a step made, whatever its files are called: an output may be renamed."""
    hashed = isinstance(value, dict) and all(isinstance(v, str) and len(v) == 64 for v in value.values())
    return sorted(value.values()) if hashed else value  # pyright: ignore[reportAttributeAccessIssue]


def told() -> dict[str, object]:
    """All of `run`, in a folder that goes again."""
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = run(Path(folder))
        for name, value in steps:
            print(name, file=sys.stderr)
            found[name] = value
        os.chdir("/")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", type=Path, help="File to keep the hashes in.")
    parser.add_argument("--compare", type=Path, help="Such a file, to compare with.")
    given = parser.parse_args()
    now = told()
    if given.write:
        given.write.write_text(json.dumps(now, indent=1) + "\n")
    if given.compare:
        before = json.loads(given.compare.read_text())
        other = [name for name in {**before, **now} if held(before.get(name)) != held(now.get(name))]
        print("\n".join(f"differs: {name}" for name in other) or f"all {len(now)} agree")
        sys.exit(bool(other))
