"""Do gradients through the prior's estimate restore pictures, is there a best weight for them, and do they
undo what is not linear? (Chung et al. 2023, sec. 4 and App. C)

Held-out emoji and photographs, each set with its own prior: blocks of 4 x 4 pixels averaged, with noise of
0.05 on [0, 1] (0.1 here); JPEG files of quality 5; Fourier magnitudes with noise of 0.1; and emoji
overexposed twofold. The weight is chosen on training pictures, for each measurement apart. Required, on both
sets, beyond chance over pictures: PSNR of the small pictures above that of the pseudo-inverse and of bicubic
interpolation; a weight of the sweep is better than the smallest and than the largest (on emoji the best on
the scored pictures, on photographs the one chosen on training pictures); PSNR above that of the measured
picture itself for JPEG and for exposure; and PSNR from magnitudes above that of hybrid input-output, the best
of whose four starts by its residual is taken for each colour; turns and shifts of a colour, which magnitudes
do not tell, are undone for both. Written before any result on emoji; photographs and magnitudes were added
after those, and before any of theirs on held-out pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from headwater.baselines.phase_retrieval import hybrid_input_output
from headwater.data import load
from headwater.experiments.comparison import Comparison
from headwater.experiments.harness import Claim, Measure, Results, Trial
from headwater.methods.restoration.dps.method import DPS
from headwater.methods.restoration.shared.claim_pictures import FACTOR, SIDE, enlarged, held_out, noisy
from headwater.metrics.image import psnr
from headwater.models import Prior
from headwater.operators import BlockAverage
from headwater.operators.named import operator_of

SETS = ("emoji", "photos")
OURS, INVERSE, BICUBIC, GIVEN, HIO = "DPS", "pseudo-inverse", "bicubic", "as measured", "hybrid input-output"
SMALL, NOISE, QUALITY, GAIN = f"block-average {FACTOR}", 0.1, 5, 2.0
JPEG, BRIGHT, PHASES = f"jpeg {QUALITY}", f"overexposed {GAIN:g}", "phase-retrieval"
MEASURED = {"emoji": (SMALL, JPEG, BRIGHT, PHASES), "photos": (SMALL, JPEG, PHASES)}
SWEEP = "PSNR over the weight"
CHOOSING = 1_000_003
"""Seed of what weights are chosen on."""


@dataclass(frozen=True)
class Settings:
    """How much is computed."""

    pictures: int
    """Held-out pictures per seed and set."""
    choosing: int
    """Training pictures that weights are chosen on."""
    scales: tuple[float, ...]
    """Weights of the gradient, the smallest first."""
    """0 needs no choosing: it leaves the measurement out."""
    method: DPS
    iterations: int = 1000
    """Of hybrid input-output."""


def measured(by: str, truth: Tensor, seed: int) -> Tensor:
    """What is measured of pictures: by the real encoder where it is JPEG."""
    y = operator_of(by, (3, SIDE, SIDE)).real(truth)
    return noisy(y, NOISE, seed) if by in (SMALL, PHASES) else y


def baselines(by: str, y: Tensor, seed: int, iterations: int) -> dict[str, Tensor]:
    """What needs no prior."""
    if by == SMALL:
        return {INVERSE: BlockAverage(FACTOR).pseudo_inverse(y).clamp(-1, 1), BICUBIC: enlarged(y)}
    if by != PHASES:
        return {GIVEN: y}
    found = hybrid_input_output(y.flatten(0, 1)[:, None], (SIDE, SIDE), seed, iterations=iterations)
    return {HIO: found.unflatten(0, (len(y), -1))[:, :, 0]}


def aligned(by: str, image: Tensor, truth: Tensor) -> Tensor:
    """Of the pictures that the measurement cannot tell from this one, the nearest, each colour on its own."""
    one, other = (x.flatten(0, 1)[:, None] for x in (image, truth))
    found = operator_of(by, (3, SIDE, SIDE)).aligned(one, other)
    return found.unflatten(0, (len(image), -1))[:, :, 0]


def measure(settings: Settings, trial: Trial) -> None:
    """Sweep the weight on small pictures; the other measurements at weights chosen beforehand."""
    trial.found.samples["chosen"] = {name: {} for name in SETS}
    for name in SETS:
        _measure(settings, trial, name)


def _measure(settings: Settings, trial: Trial, name: str) -> None:
    prior = trial.once(name, lambda: Prior.from_pretrained(name))
    truth, chosen = held_out(settings.pictures, trial.seed, name), trial.found.samples["chosen"][name]

    def restore(by: str, scale: float, y: Tensor, seed: int) -> Tensor:
        method = replace(settings.method, by=by, scale=scale)
        return method.apply(prior, y, **trial.run(16, seed=seed)).clamp(-1, 1)

    def best(by: str) -> float:
        images = load(name, "train", SIDE).images
        images = images[:: len(images) // settings.choosing][: settings.choosing]
        y = measured(by, images, CHOOSING)
        found = {
            s: float(psnr(aligned(by, restore(by, s, y, CHOOSING), images), images).mean())
            for s in settings.scales
            if s
        }
        return max(found, key=lambda s: found[s])

    columns: dict[str, Tensor] = {"truth": truth}
    for by in MEASURED[name]:
        chosen[by] = trial.once((name, by), lambda by=by: best(by))
        y = measured(by, truth, trial.seed)
        weights = settings.scales if by == SMALL else (chosen[by],)
        restored = {s: restore(by, s, y, trial.seed) for s in weights}
        arms = baselines(by, y, trial.seed, settings.iterations) | {OURS: restored[chosen[by]]}
        arms = {arm: aligned(by, image, truth) for arm, image in arms.items()}
        for arm, image in arms.items():
            trial.found.add(f"PSNR, {by}, {name}", arm, psnr(image, truth))
        if by == SMALL:
            for scale, image in restored.items():
                trial.found.add(f"{SWEEP}, {name}", OURS, psnr(image, truth), f"{scale:g}")
        columns |= {f"{by}: {arm}": arms[arm] for arm in list(arms)[-2:]}
    rows = [[column[i] for column in columns.values()] for i in range(min(3, len(truth)))]
    trial.section.pictures(list(columns), rows, caption=f"The first {name} of the first seed.")


def rule(results: Results[Settings]) -> list[Comparison]:
    """The rule at the head of this file."""
    found, scales = list[Comparison](), [f"{s:g}" for s in results.settings.scales]
    others = {SMALL: (INVERSE, BICUBIC), JPEG: (GIVEN,), BRIGHT: (GIVEN,), PHASES: (HIO,)}
    for name in SETS:
        sweep = f"{SWEEP}, {name}"
        best = f"{results.first['chosen'][name][SMALL]:g}"
        if name == "emoji":
            best = max(scales, key=lambda s, sweep=sweep: results.mean(sweep, OURS, s))
        for by in MEASURED[name]:
            key = f"PSNR, {by}, {name}"
            found += [results.compare(f"{key}, against {o}", (key, OURS), (key, o)) for o in others[by]]
        for end in (scales[0], scales[-1]):
            what = f"PSNR, {name}, at weight {best} against {end}"
            found.append(results.compare(what, (sweep, OURS, best), (sweep, OURS, end)))
    return found


METHOD = DPS(SMALL, NOISE, steps=100)
CLAIM = Claim(
    "dps",
    "Measurements of any kind undone: DPS",
    "Held-out emoji and photographs behind several measurements, most of them not linear, brought back by "
    "the gradient of what the prior's estimate fails to explain.",
    unit="picture",
    tiny=Settings(2, 1, (0.0, 1.0, 10.0), replace(METHOD, steps=2), 10),
    quick=Settings(2, 1, (0.0, 1.0, 10.0), replace(METHOD, steps=15), 200),
    full=Settings(7, 3, (0.0, 0.3, 1.0, 3.0, 10.0), METHOD),
    measures={f"PSNR, {by}, {name}": Measure("larger", "In dB.") for name in SETS for by in MEASURED[name]}
    | {
        f"{SWEEP}, {name}": Measure("larger", "In dB, of small pictures.", axis="weight of the gradient")
        for name in SETS
    },
    measure=measure,
    rule=rule,
    extra=lambda results: {"chosen weights": results.first["chosen"]},
    new_units=True,
)
