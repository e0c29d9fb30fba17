"""A published network at its true size: read, converted, evaluated; each in a fresh process."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from headwater.bench.fresh_process import answer_of
from headwater.bench.row import Row, duration
from headwater.bench.timing import relative_agreement
from headwater.run import Run

TOLERANCE, ROUNDED = 1e-4, 5e-2
"""Largest difference, as a share of the largest answer: between two orders of summation, and in bf16."""


@dataclass(frozen=True)
class PublishedModel:
    """Random weights in the layout of a published file, against diffusers' UNet2DModel with the same weights.

    side: of the picture that is evaluated once. width: 1 for the published channels, less for a test.
    """

    name: str
    side: int
    width: float = 1.0

    def rows(self, run: Run) -> list[Row]:
        """Write the file, then measure; needs disk for two copies of the weights."""
        with tempfile.TemporaryDirectory() as place:
            jobs = ("write", "inspect", "convert", "ours", "peer", "rounded")
            found = {job: self._job(job, place) for job in run.watch(jobs, what=self.name)}
            answers = {
                job: load_file(Path(place, f"{job}.safetensors")) for job in ("ours", "peer", "rounded")
            }
        ours, peer, rounded = found["ours"], found["peer"], found["rounded"]
        exact = answers["rounded"]["exact"]
        same = relative_agreement(answers["ours"]["answer"], answers["peer"]["answer"], TOLERANCE, "answers")
        last = relative_agreement(answers["rounded"]["channels_last"], exact, TOLERANCE, "channels_last")
        bf16 = relative_agreement(answers["rounded"]["bf16"], exact, ROUNDED, "bf16")
        what = f"{found['write']['millions']:.1f} M numbers in fp32"
        tools = ", ".join(
            f"headwater {job} {duration(found[job]['seconds'])} and {found[job]['whole']:.0f} MB"
            for job in ("inspect", "convert")
        )
        diffusers = f"diffusers {version('diffusers')}, UNet2DModel"
        whole = max(found[job][part]["whole"] for job, part in (("ours", "read"), ("ours", "forward")))
        memory = f"memory with the weights, ours {whole:.0f} MB for the whole process"
        return [
            _row(
                f"read {self.name}",
                (ours["read"], peer["read"]),
                f"seconds to read {what}, files in the page cache, one run each; {memory}; beside it {tools}",
                f"{diffusers}.from_pretrained of the folder that ours was converted to",
                same,
                "the file is compared with its headers and hashed, its weights are looked through for what "
                "is no number and copied, so that the file may go; the peer maps it and reads as it computes",
            ),
            _row(
                f"{self.name} at {self.side} x {self.side}",
                (ours["forward"], peer["forward"]),
                f"seconds for one picture, median of three after the first, {what}; {memory}",
                diffusers,
                same,
                "four fifths are convolutions, the same calls on both sides",
            ),
            _row(
                f"{self.name} in bf16",
                (rounded["bf16"], rounded["exact"]),
                f"seconds for one picture of {rounded['side']} x {rounded['side']}, channels last",
                "the same network in fp32",
                f"{bf16}, {last}",
            ),
        ]

    def _job(self, job: str, place: str) -> dict[str, Any]:
        described = [job, asdict(self), place, torch.get_num_threads()]
        failing = f"{job} of {self.name} failed"
        said = answer_of("headwater.bench.published_job", described, failing, "free memory and disk")
        return json.loads(said)


def _row(
    name: str,
    pair: tuple[dict[str, float], dict[str, float]],
    sizes: str,
    peer: str,
    equal: str,
    slower: str = "",
) -> Row:
    (ours, theirs), ratio = pair, pair[1]["seconds"] / pair[0]["seconds"]
    return Row(
        name=name,
        ours_seconds=ours["seconds"],
        peer_seconds=theirs["seconds"],
        ratio=ratio,
        spread=(ratio, ratio),
        ours_cpu_seconds=ours["cpu"],
        peer_cpu_seconds=theirs["cpu"],
        ours_peak_mb=ours.get("peak"),
        peer_peak_mb=theirs.get("peak"),
        sizes=sizes,
        peer=peer,
        equal=equal,
        slower=slower,
    )
