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
from headwater.bench.timing import Times, relative_agreement
from headwater.sampling import Run

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
            jobs = ("write", "inspect", "convert", "ours", "peer", "together", "rounded")
            found = {job: self._job(job, place) for job in run.track(jobs, self.name)}
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
        whole = max(ours[part]["whole"] for part in ("read", "forward"))
        memory = f"with the weights, ours {whole:.0f} MB for the whole process"
        read = [(side["read"][part],) for part in ("seconds", "cpu") for side in (ours, peer)]
        return [
            Times(*read).row(
                f"read {self.name}",
                sizes=f"seconds to read {what}, files in the page cache, one run each; memory {memory}; "
                f"beside it {tools}",
                peer=f"{diffusers}.from_pretrained of the folder that ours was converted to",
                equal=same,
                peaks=(ours["read"]["peak"], peer["read"]["peak"]),
                slower="the file is compared with its headers and hashed, its weights are looked through for "
                "what is no number and copied, so that the file may go; the peer maps it and reads as it "
                "computes",
            ),
            Times(**found["together"]).row(
                f"{self.name} at {self.side} x {self.side}",
                sizes=f"seconds for one picture, {what}, both in one process; memory each alone, {memory}",
                peer=diffusers,
                equal=same,
                peaks=(ours["forward"]["peak"], peer["forward"]["peak"]),
                slower="four fifths are convolutions, the same calls on both sides",
            ),
            Times(**rounded["times"]).row(
                f"{self.name} in bf16",
                sizes=f"seconds for one picture of {rounded['side']} x {rounded['side']}, channels last",
                peer="the same network in fp32",
                equal=f"{bf16}, {last}",
                slower="this processor has no fast bf16",
            ),
        ]

    def _job(self, job: str, place: str) -> dict[str, Any]:
        described = [job, asdict(self), place, torch.get_num_threads()]
        failing = f"{job} of {self.name} failed"
        said = answer_of("headwater.bench.published_job", described, failing, "free memory and disk")
        return json.loads(said)
