"""Do pictures enlarged by diffusion look real where those of a regression network are blurred, although the
regression has the better PSNR? (Saharia et al. 2021, sec. 4)

Emoji and photographs of 8 x 8 pixels are brought to 32 x 32. SR3 takes 100 and 20 calls. The regression
network is the same one, trained for as many updates on the squared error of the large picture, and sees
nothing but the small one. Likeness to the truth is measured between features that the set's shipped prior,
which knows neither, sees in both pictures, slightly noised. A judge for each arm, trained in the run on
other pictures to tell real from enlarged, takes the place of the paper's observers.

Required, on both sets, beyond chance over pictures: SR3's features are nearer to the truth's than those of
bicubic interpolation and of the regression; its pictures fool their judge more often than the regression's
fool theirs; the regression's PSNR is higher. And 20 calls do as well as 100: the features are no more than
5 % farther away. Reported beside: consistency with the small picture, and the judge of bicubic interpolation.
Written before any figure was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.core.prediction import labels
from headwater.data import load
from headwater.experiments.comparison import Condition
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.restoration.shared.claim_pictures import SIDE, held_out
from headwater.methods.restoration.sr3.method import SR3, FittedSR3, resized
from headwater.metrics.classifier import flip, predict, train_classifier
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.nets.features import activations
from headwater.nets.level_unet import LevelArchitecture, LevelUNet, LevelUNetConfig
from headwater.noise import Purpose, derive
from headwater.sampling import Run
from headwater.training import TrainerConfig, train

SETS = ("emoji", "photos")
MANY, FEW, REGRESSION, BICUBIC = "SR3, 100 calls", "SR3, 20 calls", "regression", "bicubic"
LIKENESS, PSNR, FOOLED, AGREES = "distance of features", "PSNR", "fools its judge", "consistency"
ALLOWED = 1.05
"""How much farther the features of few calls may be."""
LEVEL, BLOCKS = 50, (2, 5)
"""Timestep of the prior, and blocks of its decoder, at which features are read."""


def trainer(steps: int) -> TrainerConfig:
    """Batches of 16, and a learning rate that falls to 0."""
    return TrainerConfig(
        steps, 16, lr=1e-3, warmup=min(100, steps // 4), decay="cosine", grad_clip=1.0, ema=0.99
    )


METHOD = SR3(
    factor=4, predicts="v", level_scale=1000, network=LevelArchitecture(32, (1, 2, 2), 1, (4,)),
    steps=100, start=1e-4, end=0.12, training=trainer(700),
)  # fmt: skip
"""On training pictures, 500 updates that predict the noise drew other colours than the small ones have."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    method: SR3
    pictures: int
    """Held-out pictures of each set and seed."""
    judging: int
    """Training pictures that judges learn from; the networks learn from the others."""
    sets: tuple[str, ...] = SETS


def few(method: SR3) -> SR3:
    """The same walked in a fifth of the calls."""
    return replace(method, steps=max(1, method.steps // 5), end=0.5)


def regress(method: SR3, image: Tensor, run: Run) -> nn.Module:
    """The same network trained to answer the large picture at once: no noise is shown, the level is 0."""
    channels, side = image.shape[1], image.shape[-1]
    sizes = LevelUNetConfig(**asdict(method.network), in_channels=2 * channels, out_channels=channels)
    seen = resized(method.small(image), side, side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(run.seed, Purpose.PICTURED_WEIGHTS))
        network = LevelUNet(sizes)

    def loss(network: nn.Module, rows: Tensor, number: int) -> Tensor:
        draws = torch.Generator().manual_seed(derive(run.seed, Purpose.PICTURED_MIRRORS, number))
        mirrored = (torch.rand(len(rows), generator=draws) < 0.5)[:, None, None, None]
        low, high = (torch.where(mirrored, v[rows].flip(-1), v[rows]).to(run.device) for v in (seen, image))
        return F.mse_loss(regressed(network, low), high)

    return train(network, loss, len(image), method.training, run, {"arm": REGRESSION, **method.learnt()})


def regressed(network: nn.Module, seen: Tensor) -> Tensor:
    """Large pictures from small ones brought to size."""
    return network(torch.zeros_like(seen), torch.zeros(len(seen), device=seen.device), features=seen)


@torch.no_grad()
def features(prior: Prior, image: Tensor) -> list[Tensor]:
    """What the prior sees in pictures (B, C, H, W), each vector of a pixel brought to length 1."""
    noise = prior.noise.stream([0])(image[:1]).expand_as(image)  # one field for all
    x = prior.process.combine(image, noise, LEVEL)
    told = labels(prior.process.label, LEVEL, x)
    return [F.normalize(v, dim=1) for v in activations(prior.network, x, told, BLOCKS).values()]


def distance(prior: Prior, image: Tensor, truth: Tensor) -> Tensor:
    """Mean squared distance of the features of each picture from those of its truth, (B,)."""
    pairs = zip(features(prior, image), features(prior, truth), strict=True)
    return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]).mean(0)


def measure(settings: Settings, trial: Trial) -> None:
    """Train both networks on each set, enlarge, and judge."""
    for name in settings.sets:
        _measure(name, settings, trial)


def _measure(name: str, settings: Settings, trial: Trial) -> None:
    prior = trial.once(f"prior of {name}", lambda: Prior.from_pretrained(name))
    pictures = load(name, "train", SIDE).images
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(trial.seed))
    judging, learning = pictures[order[: settings.judging]], pictures[order[settings.judging :]]
    truth, method = held_out(settings.pictures, trial.seed, name), settings.method
    fitted = trial.train(f"SR3, {name}", lambda run: method.fit(learning, **run))
    network = trial.train(f"regression, {name}", lambda run: regress(method, learning, run))
    arms, small = enlargers(method, fitted, network, trial), method.small(truth)
    found = {arm: enlarge(small) for arm, enlarge in arms.items()}
    for arm, image in found.items():
        trial.found.add(LIKENESS, arm, distance(prior, image, truth), name)
        trial.found.add(PSNR, arm, psnr(image, truth), name)
        trial.found.add(AGREES, arm, (method.small(image) - small).square().mean((1, 2, 3)), name)
        if arm != FEW:
            learnt = arms[arm](method.small(judging))
            trial.found.add(FOOLED, arm, fooled(judging, learnt, image, trial), name)
    columns = {"small": resized(small, SIDE, SIDE), **found, "truth": truth}
    rows = [[column[i] for column in columns.values()] for i in range(min(5, len(truth)))]
    trial.section.pictures(list(columns), rows, caption=f"The first held-out {name} of the first seed.")


def enlargers(
    method: SR3, fitted: FittedSR3, network: nn.Module, trial: Trial
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Every arm as a function of small pictures."""

    def at_once(small: Tensor) -> Tensor:
        with torch.no_grad():
            return regressed(network, resized(small, SIDE, SIDE)).clamp(-1, 1)

    return {
        MANY: lambda small: method.apply(small, fitted, **trial.run(64)),
        FEW: lambda small: few(method).apply(small, fitted, **trial.run(64)),
        REGRESSION: at_once,
        BICUBIC: lambda small: resized(small, SIDE, SIDE),
    }


def fooled(real: Tensor, enlarged: Tensor, tested: Tensor, trial: Trial) -> Tensor:
    """The probability of being real that a judge gives each of the pictures tested, (B,).

    It learnt from other pictures as they are, and as an arm enlarged them.
    """
    classes = torch.cat([torch.ones(len(real)), torch.zeros(len(enlarged))]).long()
    judge = train_classifier(torch.cat([real, enlarged]), classes, trial.seed, epochs=8, augment=flip)
    return predict(judge, tested)[:, 1]


def rule(results: Results[Settings]) -> list[Condition]:
    """The rule at the head of this file."""
    found: list[Condition] = []
    for name in results.settings.sets:
        for measure, ours, other, required in (
            (LIKENESS, MANY, BICUBIC, True),
            (LIKENESS, MANY, REGRESSION, True),
            (FOOLED, MANY, REGRESSION, True),
            (FOOLED, MANY, BICUBIC, False),
            (PSNR, REGRESSION, MANY, True),
        ):
            what = f"{measure} of {name}, {ours} against {other}"
            found.append(results.compare(what, (measure, ours, name), (measure, other, name), required))
        allowed = ALLOWED * results.rows(LIKENESS, MANY, name)
        what = f"{LIKENESS} of {name}, 20 calls against {ALLOWED} times that of 100"
        found.append(results.compare(what, (LIKENESS, FEW, name), allowed))
    return found


CLAIM = Claim(
    "sr3",
    "Four times larger: SR3",
    "Small pictures enlarged by a diffusion that sees them, by the same network trained to regress, and "
    "bicubically.",
    unit="picture",
    tiny=Settings(replace(METHOD, steps=5, training=trainer(2)), 2, 8, ("emoji",)),
    quick=Settings(replace(METHOD, steps=20, training=trainer(60)), 8, 64, ("emoji",)),
    full=Settings(METHOD, 32, 64),
    measures={
        LIKENESS: Measure("smaller", "To the truth's, as the shipped prior of the set sees them."),
        FOOLED: Measure("larger", "Probability of being real, says a judge trained on other pictures."),
        PSNR: Measure("larger", "To the truth, in dB."),
        AGREES: Measure("smaller", "Mean squared difference from the small picture, made small again."),
    },
    measure=measure,
    rule=rule,
    new_units=True,
    quick_seeds=1,
)
