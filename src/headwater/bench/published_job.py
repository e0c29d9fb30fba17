"""`python -m headwater.bench.published_job JOB` does one thing with a published file and prints what it took.

Started by `published`. Times are in seconds, memory in MB of 10^6 bytes: `peak` beyond interpreter and
libraries, `whole` all of this process's record.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from headwater.bench.peak_memory import peak_bytes
from headwater.bench.published import PublishedModel
from headwater.bench.timing import alternate
from headwater.models import Prior, convert, inspect
from headwater.nets.adm import UNet, UNetConfig
from headwater.nets.adm_published import UNETS
from headwater.sampling import Run

ROUNDED_SIDE, PAIRS = 64, 3


def main(described: str) -> dict[str, Any]:
    """One job; answers go to JOB.safetensors in the place."""
    job, fields, place, threads = json.loads(described)
    torch.set_num_threads(threads)
    work = Work(PublishedModel(**fields), Path(place))
    with torch.inference_mode():
        return getattr(work, job)()


class Work:
    """The jobs, each a method that returns its measurements."""

    def __init__(self, task: PublishedModel, place: Path) -> None:
        self.task, self.place = task, place
        self.file, self.folder = place / f"{task.name}.pt", place / "diffusers"
        self.start = peak_bytes()

    @property
    def config(self) -> UNetConfig:
        known = UNETS[self.task.name]
        return replace(known, model_channels=int(known.model_channels * self.task.width))

    def write(self) -> dict[str, float]:
        """Random weights under which every branch says something and answers are of about 1."""
        with torch.device("meta"):
            network = UNet(self.config)
        draw = torch.Generator().manual_seed(0)
        state = {k: _drawn(k, v.shape, draw) for k, v in network.state_dict().items()}
        torch.save(state, self.file)
        return {"millions": sum(v.numel() for v in state.values()) / 1e6}

    def inspect(self) -> dict[str, float]:
        return self._taken(lambda: inspect(self.file))[1]

    def convert(self) -> dict[str, float]:
        return self._taken(lambda: convert(self.file, self.folder, to="diffusers"))[1]

    def ours(self) -> dict[str, Any]:
        prior, read = self._taken(lambda: Prior.from_pretrained(self.file))
        return {"read": read, "forward": self._forward(prior.network, "ours")}

    def peer(self) -> dict[str, Any]:
        from diffusers.models.unets.unet_2d import UNet2DModel

        self.start = peak_bytes()
        network, read = self._taken(lambda: UNet2DModel.from_pretrained(self.folder / "unet"))
        return {"read": read, "forward": self._forward(lambda x, t: network(x, t).sample, "peer")}

    def together(self) -> dict[str, Any]:
        """Both networks in one process, picture after picture in turn."""
        from diffusers.models.unets.unet_2d import UNet2DModel

        ours = Prior.from_pretrained(self.file).network
        peer = UNet2DModel.from_pretrained(self.folder / "unet")
        x, t = _input((1, 3, self.task.side, self.task.side))
        return asdict(
            alternate(lambda: ours(x, t), lambda: peer(x, t), PAIRS, Run(device="cpu", progress=False), "")
        )

    def rounded(self) -> dict[str, Any]:
        """fp32, channels_last and bf16 on a smaller picture."""
        network = Prior.from_pretrained(self.file).network
        x, t = _input((1, 3, ROUNDED_SIDE, ROUNDED_SIDE))
        last: nn.Module = deepcopy(network).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        answers = {"exact": network(x, t), "channels_last": last(x, t)}
        half = last.to(torch.bfloat16)
        answers["bf16"] = half(x, t)
        save_file({k: v.contiguous() for k, v in answers.items()}, self.place / "rounded.safetensors")
        times = alternate(
            lambda: half(x, t), lambda: network(x, t), PAIRS, Run(device="cpu", progress=False), ""
        )
        return {"side": ROUNDED_SIDE, "times": asdict(times)}

    def _forward(self, network: nn.Module | Callable[..., Tensor], job: str) -> dict[str, float]:
        x, t = _input((1, 3, self.task.side, self.task.side))
        answer, taken = self._taken(lambda: network(x, t))
        save_file({"answer": answer.contiguous()}, self.place / f"{job}.safetensors")
        return taken

    def _taken(self, call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
        begun, worked = time.perf_counter(), time.process_time()
        result = call()
        seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
        whole = peak_bytes()
        return result, {
            "seconds": seconds,
            "cpu": cpu,
            "peak": (whole - self.start) / 1e6,
            "whole": whole / 1e6,
        }


def _input(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)), torch.tensor([250])


def _drawn(name: str, shape: torch.Size, draw: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return torch.randn(shape, generator=draw).mul_(0.1).add_(float(name.endswith("weight")))
    return torch.randn(shape, generator=draw).mul_(shape[1:].numel() ** -0.5)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
