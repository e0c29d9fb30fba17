"""The verbs on files: what they write, and that a rerun finds every difference."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from headwater.cli import evaluate
from headwater.cli.record import read_record
from headwater.cli.work import as_json
from headwater.data import load, read_picture
from headwater.models import Prior
from headwater.noise import Simplex, White
from headwater.operators import Radon


def test_apply_writes_every_picture_and_keeps_what_is_known(headwater, repaint, tmp_path, pictures, mask):
    said = headwater(*repaint(batch=2))
    assert said.code == 0
    assert said.err == ""
    out = tmp_path / "out"
    names = sorted(p.relative_to(out / "filled").as_posix() for p in (out / "filled").rglob("*.png"))
    assert names == ["more/p4.png", "p0.png", "p1.png", "p2.png", "p3.png"]
    known = np.asarray(Image.open(mask)) > 0
    given, filled = (read_picture(f / "more/p4.png", (1, 16, 16)) for f in (pictures, out / "filled"))
    assert float((given - filled)[0].abs().numpy()[known].max()) < 0.01
    assert float((given - filled)[0].abs().numpy()[~known].max()) > 0.1
    record = yaml.safe_load((out / "run.yaml").read_text())
    assert record["options"]["method"].items() >= {"steps": 2, "jump": 1, "resample": 1}.items()
    assert {f"filled/{name}" for name in names} == record["outputs"].keys()
    assert {"prior_hash", "versions", "directory"} <= record.keys()
    assert "<html" in (out / "index.html").read_text()


def test_results_do_not_depend_on_the_batch(headwater, repaint, tmp_path):
    outputs = []
    for batch in (1, 3, 5):
        headwater(*repaint(batch=batch, out=tmp_path / str(batch)))
        outputs.append(yaml.safe_load((tmp_path / str(batch) / "run.yaml").read_text())["outputs"])
    assert outputs[0] == outputs[1] == outputs[2]


def test_json_is_all_that_is_printed(headwater, repaint, tmp_path):
    said = headwater(*repaint(), "--json")
    assert said.json == {"out": str(tmp_path / "out"), "items": 5, "skipped": {}}
    assert said.err == ""


def test_bad_pictures_are_skipped_and_listed(headwater, repaint, pictures, tmp_path):
    (pictures / "p1.png").write_bytes(b"no picture")
    said = headwater(*repaint(on_error="skip", batch=2))
    assert said.code == 0
    assert "4 pictures done, 1 skipped" in said.out
    assert list(json.loads((tmp_path / "out/skipped.json").read_text())) == ["p1.png"]
    assert len(list((tmp_path / "out/filled").rglob("*.png"))) == 4
    for path in pictures.rglob("*.png"):
        path.write_bytes(b"no picture")
    assert "none of the 5" in headwater(*repaint(on_error="skip", out=tmp_path / "b")).sentence(1)


def test_finished_pictures_survive_a_stop(headwater, repaint, pictures, tmp_path):
    (pictures / "p3.png").write_bytes(b"no picture")
    headwater(*repaint(batch=1)).sentence(1)
    done = {p.name for p in (tmp_path / "out/filled").rglob("*.png")}
    assert done == {"p0.png", "p1.png", "p2.png", "p4.png"}
    assert "not finished" in headwater("rerun", tmp_path / "out").sentence(1)


def test_a_run_that_was_killed_before_its_first_note_says_how_to_go_on(headwater, repaint, tmp_path):
    assert headwater(*repaint()).code == 0
    whole = (tmp_path / "out/filled/p0.png").read_bytes()
    record = read_record(tmp_path / "out")
    del record["outputs"]
    (tmp_path / "out/run.yaml").write_text(yaml.safe_dump(record))
    (tmp_path / "out/filled/p1.png").unlink()
    assert "unfinished run: add --resume to go on" in headwater(*repaint()).sentence(1)
    assert headwater(*repaint(), "--resume").code == 0
    assert (tmp_path / "out/filled/p1.png").is_file()
    assert (tmp_path / "out/filled/p0.png").read_bytes() == whole


def test_overwrite_removes_old_results_only(headwater, repaint, tmp_path, pictures):
    headwater(*repaint())
    (tmp_path / "out/mine.txt").write_text("mine")
    assert headwater(*repaint(image=pictures / "p0.png"), "--overwrite").code == 0
    assert [p.name for p in (tmp_path / "out/filled").rglob("*.png")] == ["p0.png"]
    assert (tmp_path / "out/mine.txt").exists()


def test_rerun_is_identical_and_finds_changes(headwater, repaint, tmp_path, monkeypatch, pictures):
    monkeypatch.chdir(tmp_path)
    headwater(*repaint(image="pictures", known="known.png", out="out"))
    monkeypatch.chdir("/")
    assert headwater("rerun", tmp_path / "out").out == "all 5 results are bit-identical\n"
    found = headwater("rerun", tmp_path / "out/run.yaml", "--json", "--out", tmp_path / "again")
    assert found.json == {"identical": True, "compared": 5, "differing": []}
    assert (tmp_path / "again/filled/p0.png").exists()
    Image.new("L", (20, 18)).save(pictures / "p2.png")
    found = headwater("rerun", tmp_path / "out", "--json")
    assert (found.code, found.json["differing"]) == (1, ["filled/p2.png"])


def test_rerun_says_that_the_prior_changed(headwater, repaint, tmp_path, prior):
    shutil.copytree(prior, tmp_path / "mine")
    headwater(*repaint(prior=tmp_path / "mine"))
    changed = Prior.from_pretrained(tmp_path / "mine")
    with torch.no_grad():
        for parameter in changed.network.parameters():
            parameter.mul_(1.5)
    shutil.rmtree(tmp_path / "mine")
    changed.save_pretrained(tmp_path / "mine")
    said = headwater("rerun", tmp_path / "out")
    assert said.code == 1
    assert "the prior is not the one that was used" in said.out


def test_rerun_refuses_what_is_no_record(headwater, tmp_path):
    assert "does not exist" in headwater("rerun", tmp_path).sentence(1)
    (tmp_path / "run.yaml").write_text("verb: rm\noptions: {}\n")
    assert "no record" in headwater("rerun", tmp_path).sentence(1)
    (tmp_path / "run.yaml").write_text("[")
    assert "damaged" in headwater("rerun", tmp_path).sentence(1)


def test_evaluate_finds_its_files_in_the_result(headwater, repaint, tmp_path, pictures):
    headwater(*repaint())
    numbers = headwater("evaluate", "repaint", "--result", tmp_path / "out", "--truth", pictures, "--json")
    assert numbers.json.keys() == {"hole_mse", "psnr", "seam", "pictures"}
    assert numbers.json["hole_mse"] > 0.01
    assert "--truth is missing" in headwater("evaluate", "repaint", "--result", tmp_path / "out").sentence(1)
    wrong = headwater("evaluate", "anoddpm", "--result", tmp_path / "out", "--truth", pictures)
    assert "holds results of repaint" in wrong.sentence(1)


def test_anoddpm_on_files(headwater, prior, pictures, labels, tmp_path):
    words = ["--prior", prior, "--image", pictures, "--level", "3", "--out", tmp_path / "out"]
    assert headwater("apply", "anoddpm", *words, "--batch", "2").code == 0
    rows = list(csv.DictReader((tmp_path / "out/score.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["more/p4.png", "p0.png", "p1.png", "p2.png", "p3.png"]
    error = np.load(tmp_path / "out/map/more/p4.npy")
    assert error.shape == (1, 16, 16)
    assert float(rows[0]["score"]) == pytest.approx(np.sort(error.ravel())[-2:].mean(), rel=1e-5)
    for path in labels.glob("*.png"):
        Image.open(path).point(lambda value: 255 * value).save(path)
    said = headwater("evaluate", "anoddpm", "--result", tmp_path / "out", "--truth", labels, "--json")
    assert said.json["pictures"] == 3
    assert 0 <= said.json["pixel_auroc"] <= 1
    assert said.json["image_auroc"] is None  # all three have a lesion: not a number, and so null
    assert headwater("rerun", tmp_path / "out").code == 0


def test_ddpm_segmentation_on_files(headwater, prior, pictures, labels, tmp_path):
    fast = ["--steps", "1", "--blocks", "0", "1", "--ensemble", "2", "--epochs", "1", "--smallest", "1"]
    given = ["--prior", prior, "--image", pictures, "--labels", labels]
    said = headwater("fit", "ddpm-segmentation", *given, *fast, "--out", tmp_path / "fit")
    assert said.code == 0
    assert "3 of 5 pictures" in said.out
    assert headwater("rerun", tmp_path / "fit").code == 0
    words = ["--fitted", tmp_path / "fit", "--image", pictures, "--out", tmp_path / "out", "--json"]
    assert headwater("apply", "ddpm-segmentation", *words).json["items"] == 5
    assert set(np.unique(np.asarray(Image.open(tmp_path / "out/labels/p0.png")))) <= {0, 1}
    words = ["--result", tmp_path / "out", "--truth", labels, "--json"]
    assert 0 <= headwater("evaluate", "ddpm-segmentation", *words).json["miou"] <= 1
    assert headwater("rerun", tmp_path / "out").code == 0
    missing = ["--fitted", tmp_path / "nothing", "--image", pictures, "--out", tmp_path / "x"]
    assert "--fitted" in headwater("apply", "ddpm-segmentation", *missing).sentence(1)


def test_classes_have_names_and_colours_and_label_maps_may_be_arrays(
    headwater, prior, pictures, labels, tmp_path
):
    for path in labels.glob("*.png"):
        np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)))
        path.unlink()
    fast = ["--steps", "1", "--blocks", "0", "--ensemble", "1", "--epochs", "1", "--smallest", "1"]
    told = ["--names", "sky", "sea", "ship", "--palette", "#102030", "#ff8000", "--ignore", "2"]
    words = ["--prior", prior, "--image", pictures, "--labels", labels, "--out", tmp_path / "fit"]
    assert headwater("fit", "ddpm-segmentation", *words, *fast, *told).code == 0
    words = ["--fitted", tmp_path / "fit", "--image", pictures, "--out", tmp_path / "out"]
    assert headwater("apply", "ddpm-segmentation", *words).code == 0
    with Image.open(tmp_path / "out/labels/p0.png") as written:
        assert written.getpalette("RGB")[:6] == [0x10, 0x20, 0x30, 0xFF, 0x80, 0]
    numbers = headwater(
        "evaluate", "ddpm-segmentation", "--result", tmp_path / "out", "--truth", labels, "--json"
    ).json
    assert {"iou_sky", "iou_sea", "iou_ship"} <= numbers.keys()
    # Three classes of the task, of which the ignored one is not counted, though the truth has two.
    by_hand = [numbers["iou_sky"], numbers["iou_sea"]]
    assert numbers["miou_reference"] == pytest.approx(sum(v or 0 for v in by_hand) / 2, abs=0.01)
    said = headwater("apply", "ddpm-segmentation", *words, "--palette", "red", "--overwrite")
    assert "'red' is no colour" in said.sentence(1)


def test_features_of_a_network_of_ones_own_on_files(headwater, pictures, labels, tmp_path):
    for path in pictures.rglob("*.png"):
        with Image.open(path) as picture:  # without a prior, pictures and label maps are of one size
            picture.resize((16, 16)).save(path)
        image = read_picture(path, (3, 16, 16)).numpy()
        place = (tmp_path / "maps" / path.relative_to(pictures)).with_suffix(".npz")
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(place, fine=image, coarse=image[:, ::2, ::2])
    given = ["--image", pictures, "--features", tmp_path / "maps", "--json"]
    words = ["--labels", labels, "--ensemble", "2", "--epochs", "1", "--smallest", "1"]
    assert headwater("fit", "ddpm-segmentation", *given, *words, "--out", tmp_path / "fit").code == 0
    words = ["--fitted", tmp_path / "fit", "--out", tmp_path / "out"]
    assert headwater("apply", "ddpm-segmentation", *given, *words).json["items"] == 5
    assert headwater("rerun", tmp_path / "out").code == 0
    words = ["--fitted", tmp_path / "fit", "--image", pictures, "--out", tmp_path / "x"]
    assert "features of a network of your own" in headwater("apply", "ddpm-segmentation", *words).sentence(1)
    np.save(tmp_path / "maps/p0.npy", np.zeros((4, 4)))
    (tmp_path / "maps/p0.npz").unlink()
    said = headwater("apply", "ddpm-segmentation", *given[:4], *words[:2], "--out", tmp_path / "y")
    assert "p0.npy is (4, 4) of float64: give finite (channels, h, w)" in said.sentence(1)


def test_dataset_ddpm_and_resized_purification_on_files(headwater, prior, pictures, labels, tmp_path):
    fast = ["--recipe", "tiny", "--samples", "2", "--palette", "#000000", "#00ff00"]
    words = ["--prior", prior, "--image", pictures, "--labels", labels, "--out", tmp_path / "fit"]
    assert headwater("fit", "dataset-ddpm", *words, *fast).code == 0
    assert headwater("rerun", tmp_path / "fit").code == 0
    words = ["--fitted", tmp_path / "fit", "--image", pictures, "--out", tmp_path / "out", "--json"]
    assert headwater("apply", "dataset-ddpm", *words).json["items"] == 5
    words = ["--result", tmp_path / "out", "--truth", labels, "--json"]
    assert 0 <= headwater("evaluate", "dataset-ddpm", *words).json["miou"] <= 1
    for path in pictures.rglob("*.png"):
        with Image.open(path) as picture:
            picture.resize((12, 20)).save(path)
    words = ["--prior", prior, "--image", pictures, "--level", "20", "--steps", "2", "--out", tmp_path / "p"]
    assert headwater("apply", "diffpure", *words, "--resize").code == 0
    with Image.open(tmp_path / "p/purified/p0.png") as washed:
        assert washed.size == (12, 20)


def test_black_and_white_labels_are_two_classes(headwater, prior, pictures, labels, tmp_path):
    for path in labels.glob("*.png"):
        Image.open(path).point(lambda value: 255 * value).save(path)
    fast = ["--steps", "1", "--blocks", "0", "--ensemble", "1", "--epochs", "1", "--smallest", "1"]
    words = ["--prior", prior, "--image", pictures, "--labels", labels, "--out", tmp_path / "fit"]
    said = headwater("fit", "ddpm-segmentation", *words, *fast)
    assert "white is taken for class 1" in said.err
    assert json.loads((tmp_path / "fit/fitted/config.json").read_text())["config"]["classes"] == 2


def test_sample_is_written_in_batches_and_repeats(headwater, prior, tmp_path):
    said = headwater("sample", prior, "--n", 5, "--batch", 2, "--steps", 3, "--out", tmp_path / "s", "--json")
    assert (said.json["pictures"], said.err) == (5, "")
    assert 1 <= said.json["network_calls"] <= 3
    assert len(list((tmp_path / "s/pictures").iterdir())) == 5
    assert headwater("rerun", tmp_path / "s").code == 0
    drawn = read_picture(tmp_path / "s/pictures/00004.png", (1, 16, 16))
    assert float(drawn.std()) > 0.01
    assert "knows no classes" in headwater("sample", prior, "--label", 1, "--out", tmp_path / "t").sentence(1)
    assert "20 timesteps" in headwater("sample", prior, "--steps", 30, "--out", tmp_path / "t").sentence(1)
    own = headwater("sample", prior, "--n", 1, "--sampler", "ancestral", "--out", tmp_path / "u", "--json")
    assert own.json["network_calls"] == 20


FAST = [
    *("--shape", "1", "8", "8", "--batch-size", "4", "--steps", "4", "--warmup", "1", "--process.T", "20"),
    *(
        "--network.channel-mult",
        "1",
        "--network.attention-resolutions",
        "--sample-every",
        "0",
        "--log-every",
        "2",
    ),
]


def test_fit_prior_trains_and_reruns(headwater, tmp_path):
    said = headwater("fit", "prior", "tiny", *FAST, "--out", tmp_path / "p", "--json")
    assert said.code == 0
    assert said.json["prior"] == str(tmp_path / "p/prior")
    assert isinstance(Prior.from_pretrained(tmp_path / "p").noise, White)
    assert headwater("rerun", tmp_path / "p").code == 0
    assert "not empty" in headwater("fit", "prior", "tiny", *FAST, "--out", tmp_path / "p").sentence(1)


def test_fit_prior_stops_in_time_and_goes_on(headwater, tmp_path):
    words = ["fit", "prior", "tiny", *FAST, "--out", tmp_path / "p"]
    said = headwater(*words, "--max-minutes", "0", "--json")
    assert said.json["finished"] is False
    assert headwater(*words, "--resume", "--json").json["finished"] is True


def test_fit_prior_on_a_folder_skips_bad_pictures(headwater, tmp_path, pictures):
    (pictures / "p1.png").write_bytes(b"no picture")
    words = ["fit", "prior", pictures, *FAST, "--out", tmp_path / "p", "--json"]
    assert "p1.png" in headwater(*words).sentence(1)
    assert headwater(*words, "--on-error", "skip").json["finished"] is True
    assert list(json.loads((tmp_path / "p/skipped.json").read_text())) == ["p1.png"]


def test_a_recipe_gives_defaults(headwater, tmp_path):
    (tmp_path / "r.yaml").write_text("data: tiny\ntraining: {steps: 7, lr: 1e-3}\n")
    said = headwater(
        "fit", "prior", "--recipe", tmp_path / "r.yaml", "--batch-size", 4, "--out", "x", "--print-config"
    )
    training = yaml.safe_load(said.out)["recipe"]["training"]
    assert (training["steps"], training["batch_size"], training["lr"]) == (7, 4, 0.001)
    assert training["ema"] == 0.999  # as in any prior's training
    (tmp_path / "r.yaml").write_text("data: tiny\ntraining: {stps: 7}\n")
    bad = headwater("fit", "prior", "--recipe", tmp_path / "r.yaml", "--out", "x")
    assert "did you mean 'steps'" in bad.sentence(1)


def test_a_method_s_own_kind_of_prior_is_a_recipe(headwater, tmp_path, pictures):
    words = ["fit", "prior", "tiny", *FAST, "--recipe", "anoddpm", "--out", tmp_path / "p"]
    paper = yaml.safe_load(headwater(*words[:-3], "anoddpm/paper", *words[-2:], "--print-config").out)
    assert paper["recipe"]["network"]["model_channels"] == 128
    assert "did you mean 'paper'" in headwater(*words[:-3], "anoddpm/papr2", *words[-2:]).sentence(1)
    assert headwater(*words).code == 0
    assert Prior.from_pretrained(tmp_path / "p").noise == Simplex(4, 0.8, 16.0)
    assert headwater("rerun", tmp_path / "p").code == 0
    words = ["--prior", tmp_path / "p", "--image", pictures, "--level", "2", "--out", tmp_path / "out"]
    assert headwater("apply", "anoddpm", *words).code == 0


def test_convert_and_inspect(headwater, prior, tmp_path):
    said = headwater("convert", prior, tmp_path / "w.pt", "--to", "adm", "--json")
    assert said.json == {"path": str(tmp_path / "w.pt"), "format": "adm"}
    about = headwater("inspect", tmp_path / "w.pt", "--json").json
    assert about["container"] == "torch"
    assert about["parameters"] == headwater("inspect", prior, "--json").json["parameters"]
    assert headwater("convert", tmp_path / "w.pt", tmp_path / "back", "--shape", 1, 16, 16).code == 0
    assert "exists" in headwater("convert", prior, tmp_path / "w.pt", "--to", "adm").sentence(1)
    assert "check the path" in headwater("inspect", tmp_path / "nothing").sentence(1)


def test_files_with_other_names_are_paired_in_order_and_said_to_be(headwater, repaint, mask, tmp_path):
    (tmp_path / "masks").mkdir()
    for i in range(5):
        shutil.copy(mask, tmp_path / "masks" / f"m{i}.png")
    said = headwater(*repaint(known=tmp_path / "masks", batch=2))
    assert said.code == 0
    assert "--known: has other names: taken in order, more/p4.png with m0.png" in said.err


def test_numbers_that_json_lacks():
    assert json.loads(as_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": (1,)})) == {
        "a": None,
        "b": [None, 1.5],
        "c": [1],
    }


def test_sinograms_are_reconstructed_and_real_kspace_is_not_taken_for_them(headwater, tmp_path):
    scanner = Radon.even(5, (32, 32))
    truth = (load("brain", "test", 32).images[50:52] + 1) / 2
    np.save(tmp_path / "sinograms.npy", scanner.forward(truth)[:, 0].numpy())
    given = ["--kspace", tmp_path / "sinograms.npy", "--steps", 2, "--highest", 1, "--brightness", 1]
    words = ["apply", "score-inverse-medical", "--prior", "brain", *given]
    said = headwater(*words, "--by", "radon", "--out", tmp_path / "ct")
    assert said.code == 0, said
    assert sorted(p.name for p in (tmp_path / "ct" / "magnitude").glob("*.png")) == [
        "sinograms-00000.png",
        "sinograms-00001.png",
    ]
    assert "say by radon" in headwater(*words, "--out", tmp_path / "mr").sentence(1)


def test_truth_is_read_in_the_size_of_what_the_run_wrote(headwater, repaint, tmp_path, pictures):
    """Pictures of other sizes are brought to it; what else lies in the folder does not matter."""
    assert headwater(*repaint()).code == 0
    words = ["evaluate", "repaint", "--result", tmp_path / "out", "--truth", pictures, "--json"]
    before = headwater(*words).json
    assert before["pictures"] == 5
    for name in ("a.png", "filled/a.png"):
        Image.new("RGB", (40, 7)).save(tmp_path / "out" / name)
    assert headwater(*words).json == before


def test_results_are_in_colour_where_one_output_is(tmp_path):
    for name, mode in {"mask/a.png": "L", "mask/b.png": "L", "reconstruction/a.png": "RGB"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new(mode, (9, 8)).save(tmp_path / name)
    assert evaluate._shape(tmp_path, {}) == (3, 8, 9)
    assert evaluate._shape(tmp_path, {"outputs": {"mask/a.png": "", "gone.png": ""}}) == (1, 8, 9)
    assert evaluate._shape(tmp_path / "none", {}) is None
