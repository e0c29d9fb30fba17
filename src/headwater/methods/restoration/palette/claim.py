"""Does one network that is trained on several tasks restore as well as a network for each, and do its draws
vary where what is given leaves a choice, and only there? (Saharia et al. 2022, sec. 5)

Emoji of people. With their hues turned at random a grey one may be of any colour; as they are drawn, skin
and most clothes have usual colours. Two parts, each on held-out people, others for every seed.

What ships, 32 x 32, learnt people as they are drawn: JPEG files of quality 5, 10 and 20 are restored, and
holes are filled beside RePaint with the shipped prior of such people, which knows them with turned hues too
and saw five times as many pictures in training; the same masks and network calls. Strokes ("wide") and a
hidden side ("half") are of the kinds that Palette was trained on; "alternating lines" are only shown.

Trained here, 16 x 16, all for the same number of updates, one of each for all seeds (so that chance is that
over people, not over trainings): a network for all four tasks, one each for inpainting, colourising and JPEG
files, and for colourising alone the same with the absolute error, the same on people as they are drawn, and
the same network trained to answer the colours at once by their squared error (regression).

Required, beyond chance over people:
- at each quality, the restored picture's features, as the shipped prior sees them, are nearer to the truth's
  than the JPEG file's;
- in holes of either trained kind the error, and the step at the edge, are smaller than RePaint's;
- draws of colours that may be any vary at least three times as much as draws of usual colours; they vary more
  than after training on the absolute error; their mean has a better PSNR than one draw;
- a draw's amount of colour is nearer to the truth's than that of the regression;
- the error of the network for all tasks is at most a tenth larger than that of the network for one: in the
  holes, of JPEG files of quality 10, and of the mean of several draws of colours.
Written before any figure was seen. That networks predict the picture itself was chosen on training pictures:
after as many updates those that predict v left grain.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.core.denoiser import Error
from headwater.core.timesteps import network_calls
from headwater.data import load
from headwater.data.holes import known_pixels
from headwater.experiments.comparison import Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.restoration.palette.method import FittedPalette, Palette, PaletteConfig
from headwater.methods.restoration.palette.tasks import Task, grey
from headwater.methods.restoration.repaint.method import RePaint
from headwater.methods.restoration.shared.claim_pictures import held_out
from headwater.methods.restoration.shared.pictured import Betas, draw_pictured
from headwater.metrics.image import border_continuity, hole_error, mse, psnr
from headwater.models import Prior
from headwater.models.likeness import feature_distance
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.noise import Purpose, derive
from headwater.operators import JPEG
from headwater.sampling import Run
from headwater.training import TrainerConfig, train

ANY, USUAL = "emoji-parts-hue", "emoji-parts"
SHIPPED, PRIOR = "palette-people", "emoji-parts"
FILE, OURS, REPAINT, REGRESSION = "JPEG file", "Palette", "RePaint", "regression"
FREE, TOLD, ABSOLUTE = "any colour", "usual colours", "absolute error"
ALL, ONE, SINGLE, MEAN = "all tasks", "one task", "one draw", "mean of draws"
LIKENESS, FILES, HOLE, SEAM = "distance of features", "PSNR of files", "hole error", "seam"
VARIETY, PSNR, COLOUR, ERROR = "variety of draws", "PSNR of colours", "colour off the truth's", "error"
TIMES, ALLOWED = 3, 1.1
"""How many times as varied colours are that may be any, and how much larger the error of a network for all
tasks may be than that of one for a task."""
TRAINED_ON, UNSEEN = ("wide", "half"), "alternating lines"
SIDE, SHOWN = 16, 4
"""Pixels of the pictures that networks are trained on here, and number of rows that are shown."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: Palette
    pictures: int
    """Held-out people of each seed."""
    draws: int
    repaint: RePaint
    trained: bool = True
    """Whether networks are trained here; the shipped one alone shows parts of the claim."""
    qualities: tuple[int, ...] = (5, 10, 20)


def trainer(steps: int) -> TrainerConfig:
    """Batches of 16, and a learning rate that falls to 0."""
    return TrainerConfig(
        steps, 16, lr=1e-3, warmup=min(100, steps // 4), decay="cosine", grad_clip=1.0, ema=0.99,
        precision="bf16", channels_last=True,
    )  # fmt: skip


METHOD = Palette(
    predicts="x0", level_scale=1000, groups=8, steps=20, end=0.5, training=trainer(300),
    network=UNetArchitecture(32, (1, 2, 2), 1, (4,), num_head_channels=32),
)  # fmt: skip


def measure(settings: Settings, trial: Trial) -> None:
    """What is trained here, then what ships."""
    if settings.trained:
        colours(settings, trial)
        several(settings, trial)
    fitted = trial.once(SHIPPED, lambda: FittedPalette.from_pretrained(SHIPPED))
    prior = trial.once(PRIOR, lambda: Prior.from_pretrained(PRIOR))
    truth = held_out(settings.pictures, trial.seed, USUAL)
    files(settings, trial, fitted, prior, truth)
    holes(settings, trial, fitted, prior, truth)
    seen = grey(truth[:SHOWN])
    rows = [
        [given, *drawn[:5], real]
        for given, drawn, real in zip(seen, draws(settings, fitted, seen, trial), truth, strict=False)
    ]
    columns = ["grey", *(f"draw {k + 1}" for k in range(len(rows[0]) - 2)), "truth"]
    trial.section.pictures(columns, rows, caption="Colours drawn by the shipped network.")


def files(settings: Settings, trial: Trial, fitted: FittedPalette, prior: Prior, truth: Tensor) -> None:
    """JPEG files against what is made of them."""
    columns: dict[str, Tensor] = {}
    for quality in settings.qualities:
        file = JPEG(quality).real(truth)
        restored = settings.method.apply(file, fitted, **trial.run(64))
        for arm, image in ((FILE, file), (OURS, restored)):
            trial.found.add(LIKENESS, arm, feature_distance(prior, image, truth), str(quality))
            trial.found.add(FILES, arm, psnr(image, truth), str(quality))
        columns |= {f"quality {quality}": file[:SHOWN], f"{quality}, restored": restored[:SHOWN]}
    caption = "JPEG files and what the shipped network makes of them."
    trial.section.pictures({**columns, "truth": truth[:SHOWN]}, caption=caption)


def holes(settings: Settings, trial: Trial, fitted: FittedPalette, prior: Prior, truth: Tensor) -> None:
    """Holes filled by the network and by the prior, in as many calls."""
    calls = network_calls(settings.repaint.plan(prior.process.T))
    method = replace(settings.method, steps=calls, end=min(0.9, 10 / calls))
    trial.found.samples["calls"] = calls
    rows: list[list[Tensor]] = []
    labels: list[str] = []
    for family in (*TRAINED_ON, UNSEEN):
        known = known_pixels(family, len(truth), *truth.shape[-2:], seed=trial.seed)
        filled = {
            REPAINT: settings.repaint.apply(prior, truth, known, **trial.run(32)),
            OURS: method.apply(truth, fitted, known, **trial.run(32)),
        }
        for arm, image in filled.items():
            trial.found.add(HOLE, arm, hole_error(image, truth, known), family)
            trial.found.add(SEAM, arm, border_continuity(image, truth, known).abs(), family)
        shown = (truth.where(known, torch.zeros(())), *filled.values(), truth)
        rows += [[column[i] for column in shown] for i in (0, 1)]
        labels += [family] * 2
    caption = f"Two people behind each kind of mask, {calls} network calls each."
    trial.section.pictures(["given", REPAINT, OURS, "truth"], rows, labels, caption=caption)


def network_of(
    name: str, settings: Settings, trial: Trial, tasks: tuple[Task, ...], error: Error = "l2"
) -> FittedPalette:
    """One network that serves all seeds."""
    way = replace(settings.method, tasks=tasks, error=error)
    people = load(USUAL if name == TOLD else ANY, "train", SIDE).images
    return trial.train(name, lambda run: way.fit(people, **run), 1)


def draws(settings: Settings, fitted: FittedPalette, seen: Tensor, trial: Trial) -> Tensor:
    """Several draws for each picture, (n, draws, C, H, W)."""
    method = settings.method
    chain = Betas(method.steps, method.start or 0, method.end)
    found = draw_pictured(fitted, seen, chain, method.steps, trial.run(64), settings.draws)
    return found.unflatten(0, (len(seen), -1))


def colours(settings: Settings, trial: Trial) -> None:
    """Colours drawn: any, usual ones, and any after training on the absolute error; and all at once."""
    people = load(ANY, "train", SIDE).images
    network = trial.train(REGRESSION, lambda run: regress(settings.method, people, run), 1)
    rows: list[list[Tensor]] = []
    labels: list[str] = []
    for arm in (FREE, TOLD, ABSOLUTE):
        truth = held_out(settings.pictures, trial.seed, USUAL if arm == TOLD else ANY, SIDE)
        seen = grey(truth)
        one = network_of(arm, settings, trial, ("colourise",), "l1" if arm == ABSOLUTE else "l2")
        drawn, guess = draws(settings, one, seen, trial), answer(network, seen)
        trial.found.add(VARIETY, arm, drawn.std(1).mean((1, 2, 3)))
        trial.found.add(PSNR, SINGLE, psnr(drawn[:, 0], truth), arm)
        trial.found.add(PSNR, MEAN, psnr(drawn.mean(1), truth), arm)
        if arm == FREE:
            trial.found.add(PSNR, REGRESSION, psnr(guess, truth), arm)
            trial.found.add(ERROR, ONE, mse(drawn.mean(1), truth), "colourise")
            for name, image in ((OURS, drawn[:, 0]), (REGRESSION, guess)):
                trial.found.add(COLOUR, name, (saturation(image) - saturation(truth)).abs())
        rows += [[seen[i], *drawn[i, :5], guess[i], truth[i]] for i in (0, 1)]
        labels += [arm] * 2
    columns = ["grey", *(f"draw {k + 1}" for k in range(len(rows[0]) - 3)), REGRESSION, "truth"]
    trial.section.pictures(columns, rows, labels, caption="Colours drawn by networks that were trained here.")


def saturation(image: Tensor) -> Tensor:
    """The mean difference of a pixel's largest and smallest channel, (B,): turned hues leave it as it is."""
    return (image.amax(1) - image.amin(1)).mean((1, 2))


def regress(method: Palette, image: Tensor, run: Run) -> nn.Module:
    """The same network trained to answer the colours at once."""
    sizes = UNetConfig(in_channels=6, out_channels=3, **asdict(method.network))
    config = PaletteConfig(sizes, (3, SIDE, SIDE), groups=method.groups)
    network = FittedPalette.fresh(config, derive(run.seed, Purpose.PICTURED_WEIGHTS)).network

    def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
        wanted = image[rows].to(run.device)
        wanted = wanted.flip(-1) if number % 2 else wanted
        return F.mse_loss(at_once(network, grey(wanted)), wanted)

    return train(network, loss, len(image), method.training, run, {"arm": REGRESSION, **method.learnt()})


def at_once(network: nn.Module, seen: Tensor) -> Tensor:
    """The network's answer where no noise is shown and the level is 0."""
    return network(torch.zeros_like(seen), torch.zeros(len(seen), device=seen.device), features=seen)


@torch.no_grad()
def answer(network: nn.Module, seen: Tensor) -> Tensor:
    """What the regression makes of grey pictures."""
    return at_once(network, seen).clamp(-1, 1)


def several(settings: Settings, trial: Trial) -> None:
    """The network for all tasks against one for each, on the same people, masks and draws."""
    truth = held_out(settings.pictures, trial.seed, ANY, SIDE)
    both = network_of(ALL, settings, trial, settings.method.tasks)
    known = known_pixels("wide", len(truth), SIDE, SIDE, seed=trial.seed)
    file = JPEG(10).real(truth)
    columns = {"given": truth.where(known, torch.zeros(())), "file": file}
    for arm in (ALL, ONE):
        fill = both if arm == ALL else network_of("holes only", settings, trial, ("inpaint",))
        clean = both if arm == ALL else network_of("files only", settings, trial, ("jpeg",))
        filled = settings.method.apply(truth, fill, known, **trial.run(64))
        restored = settings.method.apply(file, clean, **trial.run(64))
        trial.found.add(ERROR, arm, hole_error(filled, truth, known), "inpaint")
        trial.found.add(ERROR, arm, mse(restored, truth), "jpeg")
        columns |= {f"filled, {arm}": filled, f"restored, {arm}": restored}
    mean = draws(settings, both, grey(truth), trial).mean(1)
    trial.found.add(ERROR, ALL, mse(mean, truth), "colourise")
    shown = {name: column[:SHOWN] for name, column in {**columns, "truth": truth}.items()}
    trial.section.pictures(shown, caption="A network for all tasks beside one for each, trained here.")


def rule(results: Results[Settings]) -> list[Condition]:
    """The rule at the head of this file; a run with the shipped network has parts of it only."""
    found: list[Condition] = []
    for quality in results.settings.qualities:
        what = f"features of files of quality {quality}, restored against as they are"
        found.append(results.compare(what, (LIKENESS, OURS, str(quality)), (LIKENESS, FILE, str(quality))))
    for family in (*TRAINED_ON, UNSEEN):
        for name in (HOLE, SEAM):
            what, required = f"{name} of {family}, {OURS} against {REPAINT}", family != UNSEEN
            found.append(results.compare(what, (name, OURS, family), (name, REPAINT, family), required))
    if not results.settings.trained:
        return found
    others = TIMES * results.rows(VARIETY, TOLD)
    what = f"{VARIETY} of {FREE} against {TIMES} times that of {TOLD}"
    found.append(results.compare(what, (VARIETY, FREE), others))
    found += results.against(VARIETY, FREE, ABSOLUTE)
    for arm, required in ((FREE, True), (TOLD, False)):
        what = f"{PSNR}, {arm}, {MEAN} against {SINGLE}"
        found.append(results.compare(what, (PSNR, MEAN, arm), (PSNR, SINGLE, arm), required))
    found += results.against(COLOUR, OURS, REGRESSION)
    for task in ("inpaint", "jpeg", "colourise"):
        what = f"{ERROR} of {task}, {ALL} against {ALLOWED} times {ONE}"
        allowed = ALLOWED * results.rows(ERROR, ONE, task)
        found.append(results.compare(what, (ERROR, ALL, task), allowed))
    return found


CLAIM = Claim(
    "palette",
    "Filled, coloured, cleaned: Palette",
    "Emoji of people with holes, without colours, or as JPEG files, restored by one network that learnt all "
    "of it; holes also by RePaint, in as many calls.",
    unit="picture",
    tiny=Settings(replace(METHOD, steps=2, end=0.9, training=trainer(2)), 2, 2, RePaint(2, 1, 1)),
    quick=Settings(METHOD, 6, 6, RePaint(20, 5, 3), trained=False),
    full=Settings(METHOD, 18, 6, RePaint(20, 5, 3)),
    measures={
        LIKENESS: Measure("smaller", "To the truth's, as the shipped prior sees them, by quality."),
        FILES: Measure("larger", "To the truth, in dB, by quality."),
        HOLE: Measure("smaller", "Mean squared error over the hole, pictures in [-1, 1]."),
        SEAM: Measure("smaller", "Step across the edge of the hole off the truth's own, either way."),
        VARIETY: Measure("larger", "Standard deviation over draws, mean over pixels in [-1, 1]."),
        PSNR: Measure("larger", "To the truth, in dB."),
        COLOUR: Measure("smaller", "Difference of the mean saturation from the truth's."),
        ERROR: Measure(
            "smaller", "Mean squared error, of holes, files of quality 10, and the mean of draws."
        ),
    },
    measure=measure,
    rule=rule,
    extra=lambda results: {"calls": results.first["calls"]},
    new_units=True,
    quick_seeds=1,
    quick_proves=False,
)
