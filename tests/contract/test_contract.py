"""The contract of every method: what anyone may expect of each, with a line for none of them.

`specimens` makes tiny methods, priors and inputs; a method that joins the catalogue is tested by all of this.
"""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from contract import example
from contract import specimens as make
from headwater.cli import main
from headwater.cli.methods import helps, kinds
from headwater.cli.options import fill, read_options
from headwater.errors import UserError
from headwater.experiments.recorded import recorded
from headwater.methods.catalogue import METHODS
from headwater.models import Pretrained, Prior
from headwater.training import Recipe

OWN = list(METHODS)
"""Those of the package; the page about extending it adds one of its own."""
NAMES = [*OWN, example.NAME]
FITTING = [name for name in OWN if hasattr(METHODS[name].load(), "fit")]
TRAINING = [n for n in FITTING if any(f.name == "training" for f in dataclasses.fields(METHODS[n].load()))]  # pyright: ignore
QUIET = {"progress": False, "device": "cpu"}
N = 5


def _recipe(name: str, file: str) -> Any:
    return fill(METHODS[name].load(), read_options(METHODS[name].folder / "recipes" / file), file)


RECIPES = [
    (name, path.name)
    for name in TRAINING
    for path in sorted((METHODS[name].folder / "recipes").glob("*.yaml"))
    if not getattr(_recipe(name, path.name), "base", "")  # goes on from a network that stands
]
"""Recipes that make networks."""


@pytest.fixture(autouse=True)
def _example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, example.NAME, example.ENTRY)


@dataclasses.dataclass(frozen=True)
class Case:
    """A tiny method with all that its `apply` takes."""

    name: str
    method: Any
    given: dict[str, Any]
    """The prior and what was fitted."""
    inputs: dict[str, Any]

    def apply(self, rows: slice = slice(None), **how: Any) -> Any:
        return self.method.apply(**self.given, **make.part(self.inputs, rows), **{**QUIET, "seed": 0, **how})


def prior_for(method: Any, shape: tuple[int, int, int]) -> Prior:
    """Exact and elementwise where only `apply` needs it; a U-Net where features of it are read."""
    return make.network_prior(shape) if hasattr(method, "fit") else make.exact_prior(shape)


@cache
def fitted(name: str, shape: tuple[int, int, int]) -> Any:
    method = make.tiny(name)
    given = {"prior": prior_for(method, shape)} if make.needs_prior(method, "fit") else {}
    return method.fit(**given, **make.inputs(method.fit, method, 6, shape), seed=0, **QUIET)


def case(name: str, shape: tuple[int, int, int] | None = None) -> Case:
    method = make.tiny(name)
    shape = shape or _shape(name)
    given: dict[str, Any] = {}
    if make.needs_prior(method):
        given["prior"] = prior_for(method, shape)
    if make.hint(method.apply, "fitted") is not None:
        given["fitted"] = fitted(name, shape)
    return Case(name, method, given, make.inputs(method.apply, method, N, shape))


def _shape(name: str) -> tuple[int, int, int]:
    """RGB, or grey where colour is refused."""
    method = make.tiny(name)
    grey = "magnitude" in {kind.name for kind in kinds(method.evaluate).values()}
    return (1, *make.SHAPE[1:]) if grey else make.shape_of(method)


# What it is


@pytest.mark.parametrize("name", NAMES)
def test_it_says_where_it_comes_from(name: str) -> None:
    paper = METHODS[name].load().paper
    assert paper.title
    assert paper.authors
    assert 2000 < paper.year < 2100
    assert paper.arxiv or paper.venue
    assert paper.claim.endswith(".")
    assert paper.title in paper.bibtex(name)
    assert METHODS[name].load().needs


@pytest.mark.parametrize("name", OWN)
def test_its_claim_was_run_at_full_effort(name: str) -> None:
    found = recorded()[name]
    assert found.verdict in ("held", "partly", "not held")
    assert found.measured
    assert len(found.seeds) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_its_example_runs(name: str) -> None:
    kind = METHODS[name].load()
    module = sys.modules[kind.__module__]
    found = doctest.DocTestFinder(recurse=False).find(kind, kind.__name__, module, vars(module).copy())
    examples = [test for test in found if test.examples]
    assert examples, "the docstring of the class has no example: show a first call, with >>>"
    for test in examples:
        said: list[str] = []
        assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize("name", NAMES)
def test_every_hyper_parameter_is_explained_in_a_sentence(name: str) -> None:
    kind: Any = METHODS[name].load()
    said = helps(kind)
    for field in dataclasses.fields(kind):
        text = said.get(field.name, "")
        assert text.endswith("."), f"{field.name}: {text!r}"
        assert text[0].isupper() or text[0] in "`0123456789", f"{field.name}: {text!r}"
        assert len(text.split()) >= 3, f"{field.name}: {text!r}"


@pytest.mark.parametrize("name", OWN)
def test_its_recipes_can_be_read(name: str) -> None:
    entry = METHODS[name]
    found = sorted((entry.folder / "recipes").glob("*.yaml"))
    assert found or name not in FITTING, "a method that is fitted has recipes"
    for path in found:
        if "data" in inspect.signature(getattr(entry.load(), "fit", lambda: 0)).parameters:
            Recipe.load(path)
        else:
            fill(entry.load(), read_options(path), path.name)


class Built(Exception):
    """Networks of so many parameters stand, without numbers in them."""


@pytest.mark.parametrize(("name", "file"), [pytest.param(n, f, id=f"{n}-{f}") for n, f in RECIPES])
def test_its_recipes_build_networks(name: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their true sizes, on the meta device, where nothing is allocated."""

    def built(cls: type[Pretrained], config: Any, seed: int) -> None:
        with torch.device("meta"):
            network: Any = cls.networks(config)["network"]
        raise Built(sum(p.numel() for p in network.parameters()))

    monkeypatch.setattr(Pretrained, "fresh", classmethod(built))
    method = _recipe(name, file)
    # What is downloaded by name is trained on the spot instead, and blocks are those of the tiny prior.
    names = ("tokenizer", "words", "features", "feature_steps", "blocks")
    method = dataclasses.replace(method, **{k: make.SIZES[k] for k in names if hasattr(method, k)})
    shape = make.shape_of(method) if isinstance(getattr(method, "shape", None), tuple) else (3, 64, 64)
    given = {"prior": prior_for(method, shape)} if make.needs_prior(method, "fit") else {}
    with pytest.raises(Built) as found:
        method.fit(**given, **make.inputs(method.fit, method, 64, shape), **QUIET)
    assert found.value.args[0] > 10_000


# What it answers


@pytest.mark.parametrize("name", NAMES)
def test_results_depend_on_the_seed_alone(name: str) -> None:
    """Not on how many items are computed together, nor on when, nor on which others there are: to the bit in
    what is drawn, and to the rounding that the catalogue promises in what a network computes."""
    one = case(name)
    exact = isinstance(getattr(one.given.get("prior"), "network", None), make.Exact)
    near = 0.0 if exact else METHODS[name].rounding
    whole = one.apply()
    assert make.same(whole, one.apply())
    for size in (1, 2, 3, N):
        assert make.same(whole, one.apply(batch_size=size), near), f"batch_size {size}"
    later = one.apply(slice(2, None), first=2)
    for left, right in zip(make.items(whole), make.items(later), strict=True):
        assert make.alike(left[2:], right, near)
    assert make.same(one.apply(slice(0, 1)), one.apply(slice(0, 1), batch_size=7), near)
    if exact:  # it computes value by value; a network adds in an order that depends on the batch
        given = {**one.given, "prior": make.network_prior(one.given["prior"].shape)}
        one = dataclasses.replace(one, given=given)
        whole = one.apply()
        for size in (1, 3):
            again = one.apply(batch_size=size)
            assert make.same(whole, again, METHODS[name].rounding), f"batch_size {size}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_of_any_sides(name: str, channels: int) -> None:
    """Or, where it cannot be, one sentence."""
    method = make.tiny(name)
    shape = (channels, *_shape(name)[1:])
    if isinstance(getattr(method, "shape", None), tuple) and channels != make.shape_of(method)[0]:
        pytest.skip("the method sets its own shape")
    if channels == 3 and _shape(name)[0] == 1:
        with pytest.raises(UserError, match="grey"):
            case(name, shape).apply()
        return
    found = case(name, shape).apply()
    values = [item for field in make.items(found) for item in field if isinstance(item, Tensor)]
    assert all(bool(torch.isfinite(v).all()) for v in values)


@pytest.mark.parametrize("name", NAMES)
def test_double_precision_and_arrays_are_taken(name: str) -> None:
    one = case(name)
    tensors = {k: v for k, v in one.inputs.items() if isinstance(v, Tensor) and v.is_floating_point()}
    if not tensors:
        pytest.skip("it takes no floating tensors")
    whole = one.apply()
    arrays = dataclasses.replace(one, inputs=one.inputs | {k: v.numpy() for k, v in tensors.items()})
    assert make.same(whole, arrays.apply())
    double = dataclasses.replace(one, inputs=one.inputs | {k: v.double() for k, v in tensors.items()})
    if "prior" not in one.given:  # a network that looks at the data computes in single precision
        assert make.same(whole, double.apply())
        return
    found = double.apply()
    for single, field in zip(make.items(whole), make.items(found), strict=True):
        for a, b in zip(single, field, strict=True):
            assert a.shape == b.shape
            assert bool(torch.isfinite(b).all())


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_and_nothing_at_all_are_a_sentence(name: str) -> None:
    one = case(name)
    wrong = {k: v[..., :-1] for k, v in one.inputs.items() if isinstance(v, Tensor) and v.ndim > 2}
    for key, value in wrong.items():
        with pytest.raises(UserError) as told:
            dataclasses.replace(one, inputs=one.inputs | {key: value}).apply()
        assert len(str(told.value).split()) > 4
    nothing = {
        k: v if isinstance(v, Tensor) and v.dtype == torch.bool else v[:0] for k, v in one.inputs.items()
    }
    with pytest.raises(UserError) as told:
        dataclasses.replace(one, inputs=nothing).apply()
    assert len(str(told.value).split()) > 4


# What it learns


def state(trained: Any) -> list[Tensor]:
    """All numbers of something trained."""
    return [v for _, v in sorted(trained.root().state_dict().items())]


def equal(one: Any, other: Any) -> bool:
    pairs = zip(state(one), state(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def fit(name: str, **how: Any) -> Any:
    method, shape = make.tiny(name), _shape(name)
    given = {"prior": prior_for(method, shape)} if make.needs_prior(method, "fit") else {}
    return method.fit(**given, **make.inputs(method.fit, method, 6, shape), **{**QUIET, "seed": 0, **how})


@pytest.mark.parametrize("name", [n for n in FITTING if n != "anoddpm"])
def test_training_is_repeatable_and_what_it_makes_is_kept(name: str, tmp_path: Path) -> None:
    one = fitted(name, _shape(name))
    assert equal(one, fit(name))
    assert not equal(one, fit(name, seed=1))
    one.save_pretrained(tmp_path / "kept")
    again = type(one).from_pretrained(tmp_path / "kept", device="cpu")
    assert equal(one, again)
    assert again.hash == type(one).from_pretrained(tmp_path / "kept", device="cpu").hash
    made = case(name)
    assert make.same(made.apply(), dataclasses.replace(made, given=made.given | {"fitted": again}).apply())


@pytest.mark.parametrize("name", TRAINING)
def test_a_training_that_was_killed_ends_as_if_it_had_not_been(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, step = 0, torch.optim.AdamW.step

    def killed(self: Any, *words: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == make.UPDATES:
            raise KeyboardInterrupt
        return step(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(name, checkpoint_dir=tmp_path / "kept")
    assert equal(fit(name, checkpoint_dir=tmp_path / "kept"), fitted(name, _shape(name)))


# On the command line


@pytest.fixture
def line(capfd: pytest.CaptureFixture[str]) -> Any:
    """Call the command line; returns its code and what it said."""

    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(word) for word in words])
        found = capfd.readouterr()
        return code, found.out, found.err

    return call


def words(options: dict[str, str]) -> list[str]:
    return [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_does_the_same(
    name: str, tmp_path: Path, line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apply on files, be stopped, go on, run again bit for bit, be evaluated."""
    one = case(name)
    options = make.files(tmp_path / "in", one.inputs, kinds(type(one.method).apply))
    given: list[str] = []
    if "prior" in one.given and isinstance(one.given["prior"].network, make.Exact):
        shape = one.given["prior"].shape
        one.given["prior"] = make.network_prior(shape)
    if "prior" in one.given:
        one.given["prior"].save_pretrained(tmp_path / "prior")
        given += ["--prior", str(tmp_path / "prior")]
    if "fitted" in one.given:
        one.given["fitted"].save_pretrained(tmp_path / "fit" / "fitted")
        record = {"verb": "fit", "target": name, "options": {"method": plain(one.method)}}
        (tmp_path / "fit" / "run.yaml").write_text(yaml.safe_dump(record))
        given += ["--fitted", str(tmp_path / "fit")]
    else:
        (tmp_path / "method.yaml").write_text(yaml.safe_dump({"method": plain(one.method)}))
        given += ["--config", str(tmp_path / "method.yaml")]
    command = ["apply", name, *given, *words(options), "--batch", "2", "--json"]

    code, out, err = line(*command, "--out", tmp_path / "out")
    assert code == 0, err
    # Texts made up here may be longer than a tiny network reads, which is said and kept in the record.
    noted = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text()).get("notes")
    assert noted or err == "", err
    assert json.loads(out)["items"] == N

    calls, apply = 0, type(one.method).apply

    def stopped(self: Any, *args: Any, **kw: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return apply(self, *args, **kw)

    stopped.__wrapped__ = apply  # pyright: ignore[reportFunctionMemberAccess]
    stopped.__signature__ = inspect.signature(apply)  # pyright: ignore[reportFunctionMemberAccess]
    stopped.__annotations__ = apply.__annotations__
    with monkeypatch.context() as patch:
        patch.setattr(type(one.method), "apply", stopped)
        assert line(*command, "--out", tmp_path / "twice")[0] == 130
    assert line(*command, "--out", tmp_path / "twice", "--resume")[0] == 0
    first, second = (
        yaml.safe_load((tmp_path / d / "run.yaml").read_text())["outputs"] for d in ("out", "twice")
    )
    assert first == second

    assert line("rerun", tmp_path / "out", "--json")[0] == 0
    truths = make.files(tmp_path / "truth", truth(one), kinds(type(one.method).evaluate))
    code, out, err = line("evaluate", name, "--result", tmp_path / "out", *words(truths), "--json")
    assert code == 0, err
    assert all(v is None or isinstance(v, (int, float)) for v in json.loads(out).values())


def plain(method: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(method)))


def truth(one: Case) -> dict[str, Any]:
    """What `evaluate` compares with, where it is neither a result nor an input of `apply`."""
    wanted = kinds(type(one.method).evaluate)
    shape = one.given["prior"].shape if "prior" in one.given else _shape(one.name)
    found = {k: make.make(k, kind, N, shape) for k, kind in wanted.items() if k == "truth"}
    if "truth" in found and wanted["truth"].name == "series":
        found["truth"] = [
            dataclasses.replace(t, values=torch.nan_to_num(torch.from_numpy(t.values), 50.0).numpy())
            for t in found["truth"]
        ]
    return found


@pytest.mark.parametrize("verb", ["apply", "fit", "evaluate"])
@pytest.mark.parametrize("name", NAMES)
def test_help_is_there_and_full(name: str, verb: str, line: Any) -> None:
    if verb == "fit" and name not in FITTING:
        assert line(verb, name, "--out", "x")[0] == 1
        return
    code, out, err = line(verb, name, "--help")
    assert code == 0, err
    assert f"headwater {verb} {name}" in out
