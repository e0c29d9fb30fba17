"""`headwater degrade IMAGES`: measured pictures made from clean ones, to try restoration on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import tyro

from headwater.cli.files import open_all
from headwater.cli.kinds.pictures import Measured
from headwater.cli.methods import PRIOR
from headwater.cli.options import parse
from headwater.cli.output import apart, check_names, open_output
from headwater.cli.parts import Parts
from headwater.cli.record import write_record
from headwater.cli.work import Work, answer
from headwater.data.reading import Reading
from headwater.errors import need
from headwater.locks import locked
from headwater.methods.base import Kind
from headwater.models import Prior
from headwater.noise import Purpose, White, counted, derive
from headwater.operators import Measurement
from headwater.operators.named import operator_of


@dataclass(frozen=True, kw_only=True)
class Options(Work):
    """Measure clean pictures as `headwater apply ddrm` and `dps` take them: OUT/measured/*.png, or *.npy
    where what is measured is no picture."""

    image: Annotated[
        str, tyro.conf.arg(help="A folder of pictures, one picture, or a shipped set."), tyro.conf.Positional
    ]
    by: str
    """What is measured of each picture, such as "block-average 4", "bicubic 4", grey, mask or "jpeg 10"."""
    known: str | None = None
    """For `mask`: a folder of masks with the pictures' names, or one mask for all, white where a pixel is
    measured."""
    threshold: float | None = None
    """In masks that are not black and white alone: share of the range from black to white, 0 to 1, from which
    on a pixel counts as white."""
    drawn_on: Literal["seen", "stored"] | None = None
    """Of pictures with an orientation tag: whether masks were drawn on the picture as it is seen, or as it is
    stored, before the tag turns it."""
    window: tuple[float, float] | None = None
    """In pictures and volumes with units of their own: the values that become black and white."""
    noise: float = 0.0
    """Standard deviation of the noise that is added, for values in [-1, 1]."""
    photons: float | None = None
    """Number of photons that a white pixel counts on average, for Poisson noise; 255 is what papers call a
    rate of 1."""
    prior: Annotated[str | None, tyro.conf.arg(help=f"{PRIOR[:-1]}: pictures get its size first.")] = None


def run(argv: Sequence[str]) -> int:
    """Read, measure and write pictures, a batch at a time."""
    options = parse(Options, argv, "headwater degrade")
    need(options.noise >= 0, f"--noise is {options.noise}: give its standard deviation, 0 or more")
    photons = options.photons
    need(photons is None or photons > 0, f"--photons is {photons}: give a number above 0")
    apart(options.out, {"IMAGES": options.image, "--known": options.known})
    with locked(options.out):
        return _degrade(options)


def _degrade(options: Options) -> int:
    work = options.run()
    shape = None if options.prior is None else Prior.from_pretrained(options.prior).shape
    reading = Reading(options.threshold, options.window, drawn_on=options.drawn_on)
    kinds = {"image": Kind("images", ""), "known": Kind("mask", "")}
    sources = open_all(kinds, {"image": options.image, "known": options.known}, shape, reading=reading)
    source, masks = sources["image"], sources.get("known")
    source.check_names()
    need(len(source) > 0 and source.shape is not None, f"{options.image} holds no pictures: give some")
    shape = source.shape or (1, 1, 1)
    partners = [row for row in masks.all_partners(source)[0] if row is not None] if masks else []

    def measurement(rows: Sequence[int]) -> Measurement:
        known = masks.read([partners[i] for i in rows]) if masks else None
        return operator_of(options.by, shape, known)

    a = measurement([0])
    wanted = tuple(a.forward(torch.zeros(1, *shape)).shape[1:])
    light = options.photons is None or a.picture
    need(light, f"{options.by!r} measures no light, which photons tell of: omit --photons")
    written = Measured(a.picture)
    names = check_names({n: written.files("measured", n) for n in source.names}, (), options.out)
    out = open_output(options.out, "degrade", "", names, options.overwrite)
    about = {"inputs": {name: each.mark for name, each in sources.items()}}
    write_record(out, "degrade", "", options, about, None)
    for batch in work.track(work.batches(len(source)), "pictures"):
        image, a = source.read(list(batch.items)), measurement(batch.items)
        y, seeds = a.real(image), [derive(work.seed, Purpose.MEASURED, i) for i in batch.items]
        if options.photons is not None:
            y = a.kept(counted(y, options.photons, [derive(seed, 1) for seed in seeds]))
        if options.noise:
            y = a.kept(y + options.noise * White().stream(seeds)(y))
        if not batch.items.start:
            Parts(out).plan(names)
        for i, one in zip(batch.items, y, strict=True):
            written.write(out, "measured", source.names[i], one)
    write_record(out, "degrade", "", options, about, names)
    Parts(out).remove()
    said = f"{source.count(len(source))} measured in {out / 'measured'}"
    return answer(options.json, said, {"out": str(out), "pictures": len(source), "shape": list(wanted)})
