"""Every comparison runs at a tiny size and refuses to time what is not equal. Nothing here is timed."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from headwater import bench, cli
from headwater.bench import Row, core_overhead, csdi_sampling, suite, training_step
from headwater.bench import simplex_fields as simplex
from headwater.bench.change_features import ChangeFeatures
from headwater.bench.computed_once import ComputedOnce
from headwater.bench.core_overhead import CoreOverhead
from headwater.bench.csdi_sampling import CSDISampling
from headwater.bench.curve import Curve, Point
from headwater.bench.few_labels import FewLabels
from headwater.bench.network import prior
from headwater.bench.pictured_step import PicturedStep
from headwater.bench.pixel_features import PixelFeatures
from headwater.bench.purifier_gradient import PurifierGradient
from headwater.bench.restoring import Restoring
from headwater.bench.reverse_loop import ReverseLoop
from headwater.bench.simplex_fields import SimplexFields
from headwater.bench.suite import Comparison
from headwater.bench.timing import agreement, alternate, relative_agreement
from headwater.bench.training_mode import TrainingMode
from headwater.bench.training_step import TrainingStep
from headwater.cli.bench import Options
from headwater.core import DDIM, DPMSolver, Sampler
from headwater.errors import UserError
from headwater.methods.robustness.diffpure.method import DiffPure
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.nets.csdi import CSDINet
from headwater.nets.image_conditioned import SummedUNet
from headwater.nets.pixel_ensemble import PixelEnsemble
from headwater.nets.text2im import Text2Im
from headwater.noise import Simplex
from headwater.sampling import Run

# DPMSolverMultistepScheduler turns a tensor into an array in a way that numpy is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

QUIET = Run(progress=False)
SMALL = UNetArchitecture(model_channels=32, channel_mult=(1,), attention_resolutions=())
PIXELS = PixelFeatures(16, members=2, pairs=1, classes=3, width=1 / 32)

SERIES = CSDISampling(3, 2, 2, 1, length=8, layers=1, channels=8, T=4)

TINY: dict[str, Comparison] = {
    **{kind: CoreOverhead(kind, 12, 1, side=4) for kind in core_overhead.SAMPLERS},
    "DDIM pipeline": ReverseLoop("DDIM", 5, 2, 1, 8, SMALL),
    "DDPM pipeline": ReverseLoop("DDPM", 8, 1, 1, 8, SMALL),
    "DDRM": Restoring("DDRM", 5, 2, 1, 8, SMALL),
    "DPS": Restoring("DPS", 4, 2, 1, 8, SMALL),
    "training fp32": TrainingStep("fp32", 2, 1, 1, 8, SMALL),
    "training bf16": TrainingStep("bf16", 2, 1, 1, 8, SMALL),
    "training SR3": PicturedStep("SR3", 2, 1, 1, 8, (1,)),
    "training Palette": PicturedStep("Palette", 2, 1, 1, 8, (1,)),
    "training mode": TrainingMode(False, 2, 1, 1, 8, SMALL),
    "simplex walk": SimplexFields("walk", 2, 4, 1),
    "simplex training": SimplexFields("training", 2, 4, 1),
    "guidance once": ComputedOnce("guidance", 2, 1, 1),
    "captions once": ComputedOnce("captions", 2, 2, 1),
    "picture once": ComputedOnce("picture", 2, 2, 1, side=32, scale=4),
    "map once": ComputedOnce("map", 2, 1, 1, side=32, scale=8),
    "estimate once": ComputedOnce("estimate", 2, 1, 1),
    "side information once": ComputedOnce("side information", 2, 2, 1, side=3, scale=4),
}


@pytest.mark.parametrize("name", TINY)
def test_both_sides_are_equal_and_timed(name: str) -> None:
    (row,) = TINY[name].rows(QUIET)
    assert row.ours_seconds > 0
    assert row.peer_seconds is not None
    assert row.spread is not None
    assert row.ratio is not None
    assert row.ratio == row.peer_seconds / row.ours_seconds
    assert row.spread[0] <= row.ratio <= row.spread[1]
    assert "limit" in row.equal


def test_pixel_features_are_weighed_in_processes_of_their_own() -> None:
    (row,) = PixelFeatures(64, members=1, pairs=1, classes=3, width=1 / 4).rows(QUIET)
    assert row.ours_peak_mb is not None
    assert row.peer_peak_mb is not None
    # The processes inherit nothing of this one's record. The stack alone is 2112 x 64 x 64 numbers: 35 MB.
    assert row.ours_peak_mb < 35 < row.peer_peak_mb


def test_change_features_are_weighed() -> None:
    (row,) = ChangeFeatures(128, pairs=1, width=1 / 4).rows(QUIET)
    assert row.ours_peak_mb is not None
    assert row.peer_peak_mb is not None
    # The stack is 6 times 1 million numbers, 25 MB, and joining it copies blocks.
    assert 1.4 * row.ours_peak_mb < row.peer_peak_mb


def test_a_gradient_is_weighed() -> None:
    (row,) = PurifierGradient(16, 4, 1, side=16, depth=2).rows(QUIET)
    assert row.ours_peak_mb is not None
    assert row.peer_peak_mb is not None
    # Activations of one call instead of sixteen: 10 MB each.
    assert 3 * row.ours_peak_mb < row.peer_peak_mb
    assert "gradients" in row.equal


def test_labelling_and_fitting_are_weighed() -> None:
    found, fitted = FewLabels(4, 128, 1, 1, batch=2, classes=3, width=1 / 4).rows(QUIET)
    assert found.ours_peak_mb is not None
    assert found.peer_peak_mb is not None
    assert fitted.ours_peak_mb is not None
    # One stack is 2112 x 128 x 128 numbers, 138 MB; the maps of a picture are 6 MB, 3 MB in half precision.
    assert found.ours_peak_mb < 138 < found.peer_peak_mb
    assert fitted.ours_peak_mb < 138
    assert fitted.ratio is None


def test_a_missing_peer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csdi_sampling, "installed", lambda name: "")
    (row,) = SERIES.rows(QUIET)
    assert row.ours_seconds > 0
    assert row.ratio is None
    assert "not installed" in row.peer
    assert "not installed" in bench.table([row])


def test_a_compiler_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: object) -> Callable[..., Tensor]:
        def fail(*args: object, **told: object) -> Tensor:
            raise RuntimeError("no compiler")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    (row,) = TrainingMode(True, 2, 1, 1, 8, SMALL).rows(QUIET)
    assert row.ratio is None
    assert "torch.compile failed" in row.peer


def test_series_equal_pypots() -> None:
    pytest.importorskip("pypots")
    (row,) = SERIES.rows(QUIET)
    assert row.ratio is not None
    assert "draws" in row.equal


# --- what is equal must be able to differ -----------------------------------------------------------------


def test_the_shared_network_says_something() -> None:
    tiny = prior(8, False, SMALL)
    x = torch.randn(2, 1, 8, 8)
    answers = [tiny.network(x, torch.full((2,), float(t))) for t in (1, 900)]
    assert answers[0].abs().mean() > 0.01
    assert not torch.equal(*answers)


@pytest.mark.parametrize(("kind", "wrong"), [("Heun", DPMSolver(order=1)), ("Ancestral", DDIM())])
def test_another_sampler_is_noticed(
    kind: core_overhead.Name, wrong: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(core_overhead.SAMPLERS, kind, wrong)
    with pytest.raises(UserError, match="ends of walks"):
        TINY[kind].rows(QUIET)


def test_another_start_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Run.stream
    monkeypatch.setattr(
        Run, "stream", lambda self, n, law=None, purpose=0: whole(self, n, law, purpose + (law is None))
    )
    with pytest.raises(UserError, match="pictures"):
        TINY["DDIM pipeline"].rows(QUIET)


def test_another_noise_in_training_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = training_step.Plain.update
    monkeypatch.setattr(
        training_step.Plain, "update", lambda self, clean, t, noise: honest(self, clean, t, noise * 1.001)
    )
    with pytest.raises(UserError, match="losses"):
        TINY["training fp32"].rows(QUIET)


def test_another_law_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = simplex.theirs
    monkeypatch.setattr(
        simplex, "theirs", lambda law, seed, level, side: honest(Simplex(5), seed, level, side)
    )
    with pytest.raises(UserError, match="fields"):
        TINY["simplex walk"].rows(QUIET)


def test_other_logits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest: Callable[..., Tensor] = PixelEnsemble.logits
    monkeypatch.setattr(PixelEnsemble, "logits", lambda *args: honest(*args) * 1.001)
    with pytest.raises(UserError, match="logits"):
        PIXELS.rows(QUIET)


@pytest.mark.parametrize("part", ["captions", "picture", "side information"])
def test_what_is_computed_once_matters(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other captions, picture or embedding on one side, its walk ends elsewhere."""
    kind, method = {
        "captions": (Text2Im, "encode"),
        "picture": (SummedUNet, "encode"),
        "side information": (CSDINet, "side"),
    }[part]
    honest, calls = getattr(kind, method), 0

    def first_call_differs(self: object, *args: Tensor) -> object:
        nonlocal calls
        calls += 1
        found = honest(self, *args)
        if calls > 1:
            return found
        return found * 1.1 if isinstance(found, Tensor) else type(found)(v * 1.1 for v in found)

    monkeypatch.setattr(kind, method, first_call_differs)
    with pytest.raises(UserError, match="ends of walks"):
        TINY[f"{part} once"].rows(QUIET)


def test_guidance_is_one_call_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    honest = Text2Im.forward

    def counting(self: Text2Im, x: Tensor, *args: Tensor, **told: Tensor) -> Tensor:
        sizes.append(len(x))
        return honest(self, x, *args, **told)

    monkeypatch.setattr(Text2Im, "forward", counting)
    ours, peer = ComputedOnce("guidance", 2, 3, 1).guidance()[0]
    ours()
    assert sizes == [6, 6]
    peer()
    assert sizes[2:] == [3, 3, 3, 3]


def test_another_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = DiffPure.purify
    monkeypatch.setattr(
        DiffPure, "purify", lambda self, prior, x, noise: honest(self, prior, x, noise) * 1.001
    )
    with pytest.raises(UserError, match="gradients"):
        PurifierGradient(2, 1, 1, side=8, depth=1).rows(QUIET)


def test_agreement_refuses_shapes_and_numbers_that_are_none() -> None:
    zero = torch.zeros(2)
    assert agreement(zero, zero + 0.25, 0.5, "zeros").startswith("zeros to 2.5e-01")
    for other in (torch.zeros(1), zero + 1, zero * torch.nan):
        with pytest.raises(UserError):
            agreement(zero, other, 0.5, "zeros")


# --- method -----------------------------------------------------------------------------------------------


def test_runs_alternate_after_one_of_each() -> None:
    order: list[str] = []
    times = alternate(lambda: order.append("ours"), lambda: order.append("peer"), 3, QUIET, "", (1, 2))
    assert order == ["ours", "peer"] * 4
    assert len(times.ours) == len(times.peer) == 3


def test_a_training_leaves_no_precision_behind() -> None:
    from accelerate.state import AcceleratorState

    TINY["training bf16"].rows(QUIET)
    assert not AcceleratorState._shared_state


# --- the whole --------------------------------------------------------------------------------------------

CURVE = Curve("digits", "a distance", (Point("DDPM", 9, 2.0, 0.1), Point("Heun", 5, 2.1, 0.1)), 1.5)
ROW = Row(
    "walk", 4e-5, 8e-5, 2.0, (1.5, 2.5), 3e-5, 6e-5, 12.0, 345.6, "seconds per step", "peer 1.0", "ends to 0"
)


def test_the_table_shows_every_figure_within_its_width() -> None:
    text = bench.table([ROW, dataclasses.replace(ROW, name="pixel features 256 x 256", ours_peak_mb=None)])
    first, second = text.splitlines()[2:4]
    for figure in ("40 us", "80 us", "2 x", "1.5 to 2.5", "30 us / 60 us", "12 MB / 346 MB"):
        assert figure in first
    assert "MB" not in second
    assert max(map(len, text.splitlines())) <= 110
    assert "Peer: peer 1.0. Equal: ends to 0." in text


def test_only_picks_and_unknown_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def rows(self, run: Run) -> list[Row]:
            return [dataclasses.replace(ROW, name=self.name)]

    class FakeStudy:
        def curve(self, run: Run) -> Curve:
            return CURVE

    monkeypatch.setattr(suite, "QUICK", {name: (Fake(name),) for name in suite.QUICK})
    monkeypatch.setattr(suite, "QUICK_CURVES", (FakeStudy(),))
    assert [r.name for r in bench.run(only=("simplex", "core")).rows] == ["core", "simplex"]
    assert bench.run(only=("core",)).curves == []
    assert bench.run(only=("quality",)) == bench.Measured([], [CURVE])
    assert [r.name for r in bench.run().rows] == list(suite.QUICK)
    assert bench.run().curves == [CURVE]
    with pytest.raises(UserError, match="did you mean 'simplex'"):
        bench.run(only=("simplx",))


@dataclasses.dataclass(frozen=True)
class Counted:
    """A comparison and a study that count how often they are measured."""

    size: int
    measured: list[str] = dataclasses.field(repr=False)

    def rows(self, run: Run) -> list[Row]:
        self.measured.append("row")
        return [
            dataclasses.replace(ROW, spread=None),
            dataclasses.replace(ROW, ours_peak_mb=float(self.size)),
        ]

    def curve(self, run: Run) -> Curve:
        self.measured.append("curve")
        return CURVE


def test_a_bench_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    sizes = {name: (Counted(5, measured),) if name == "core" else () for name in suite.QUICK}
    monkeypatch.setattr(suite, "QUICK", sizes)
    monkeypatch.setattr(suite, "QUICK_CURVES", (Counted(6, measured),))
    first = bench.run(keep=tmp_path / "kept")
    assert measured == ["row", "curve"]
    assert bench.run(keep=tmp_path / "kept") == first
    assert measured == ["row", "curve"]
    # Other sizes are another measurement; times of other versions or threads do not count.
    monkeypatch.setattr(suite, "QUICK", {**sizes, "core": (Counted(7, measured),)})
    assert bench.run(keep=tmp_path / "kept").rows != first.rows
    monkeypatch.setattr(suite, "QUICK", sizes)
    elsewhere = {**suite.surroundings(), "threads": "64"}
    monkeypatch.setattr(suite, "surroundings", lambda: elsewhere)
    assert bench.run(keep=tmp_path / "kept") == first
    assert measured == ["row", "curve", "row", "row"]


@dataclasses.dataclass(frozen=True)
class Differing:
    """A comparison whose sides do not compute the same."""

    def rows(self, run: Run) -> list[Row]:
        agreement(torch.zeros(1), torch.ones(1), 1e-4, "zeros and ones")
        return [ROW]


def test_sides_that_differ_are_refused_and_the_others_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, kept = tmp_path / "page.md", tmp_path / "kept"
    sizes = {"core": (Differing(), Counted(5, [])), "series": (Counted(6, []),)}
    monkeypatch.setattr(suite, "QUICK", sizes)
    monkeypatch.setattr(suite, "QUICK_CURVES", ())
    argv = ["bench", "--markdown", str(page), "--keep", str(kept)]
    for _ in range(2):  # what was refused is not kept
        assert cli.main(argv) == cli.FAILED
        printed = capsys.readouterr()
        assert "Not timed: core: bench: zeros and ones differ by 1.0e+00" in printed.out
        assert "1 of the comparisons did not compute the same" in printed.err
        assert page.read_text().count("| walk |") == 4
        assert "Not timed: core: " in page.read_text()
    assert cli.main([*argv, "--json"]) == cli.FAILED
    assert len(json.loads(capsys.readouterr().out)["refused"]) == 1


def test_rounding_is_judged_by_the_largest_value() -> None:
    big = torch.tensor([1e3, 1.0])
    assert relative_agreement(big + 1e-2, big, 1e-4, "walks").startswith("walks, of the largest value, to 1")
    with pytest.raises(UserError, match="walks, of the largest value, differ"):
        relative_agreement(big + 1, big, 1e-4, "walks")


def test_a_damaged_measurement_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "QUICK", {name: () for name in suite.QUICK})
    monkeypatch.setattr(suite, "QUICK_CURVES", (Counted(6, []),))
    bench.run(keep=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        bench.run(keep=tmp_path)


def test_full_holds_the_same_comparisons() -> None:
    assert suite.FULL.keys() == suite.QUICK.keys()


def test_the_verb_prints_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = bench.Measured([ROW], [CURVE])
    monkeypatch.setattr(
        bench,
        "run",
        lambda full, progress, only, keep: found if only == ("core",) else bench.Measured([], []),
    )
    assert cli.main(["bench", "--only", "core", "--json"]) == cli.DONE
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"][0]["ratio"] == 2.0
    assert printed["curves"][0]["points"][1]["solver"] == "Heun"
    assert "load average before" in printed["surroundings"]
    assert cli.main(["bench", "--only", "core"]) == cli.DONE
    printed = capsys.readouterr().out
    assert printed.startswith("headwater ")
    assert bench.table([ROW]) in printed
    assert bench.curves([CURVE])[0] in printed
    assert cli.main(["bench", "--only", "nothing"]) == cli.USAGE


def test_markdown_goes_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = dataclasses.replace(ROW, name="slow", ratio=0.5, spread=(0.4, 0.6), slower="it does more")
    alone = dataclasses.replace(ROW, name="alone", ratio=None, spread=None, peer_seconds=None)
    found = bench.Measured([ROW, slow, alone], [CURVE])
    monkeypatch.setattr(bench, "run", lambda full, progress, only, keep: found)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    assert cli.main(["bench", "--full", "--only", "core", "--markdown", str(page)]) == cli.DONE
    text = page.read_text()
    assert text.startswith("before\n<!-- bench -->\n\n`headwater bench --full --only core`: headwater ")
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert (
        "| walk | seconds per step | peer 1.0 | 2 x | 1.5 to 2.5 | 40 us / 80 us | 12 MB / 346 MB |" in text
    )
    assert "- slow, 0.5 x: it does more." in text
    assert "| DDPM |  | 2 ± 0.1 |" in text
    again = text
    assert cli.main(["bench", "--full", "--only", "core", "--markdown", str(page)]) == cli.DONE
    assert page.read_text().count("| walk |") == again.count("| walk |") == 1
    page.write_text("no marks\n")
    assert cli.main(["bench", "--markdown", str(page)]) == cli.FAILED
    assert page.read_text() == "no marks\n"


def test_the_verb_offers_every_comparison() -> None:
    choices = typing.get_args(typing.get_args(typing.get_type_hints(Options)["only"])[0])
    assert choices == bench.NAMES
