"""The notebooks' contract: stored outputs, parameters, what a papermill run leaves behind."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from vizlib import images

ROOT = Path(__file__).resolve().parents[1]
INVERSION = ROOT / "notebooks/Inverting_convnet_representations.ipynb"
CLASS_SCORE = ROOT / "notebooks/Class_score_and_Saliency_Map_Visualization.ipynb"
COMMON = {"network", "image", "size", "iterations", "regularization", "recipe", "seed", "out", "interactive"}
OWN = {
    INVERSION: {"layers", "layer", "seeds", "sections"},
    CLASS_SCORE: {"classes", "dataset", "saliency_method", "foreground", "background", "smoothness", "sections"},
}
both = pytest.mark.parametrize("path", [INVERSION, CLASS_SCORE], ids=["inversion", "class_score"])


def cells(path, kind="code"):
    return [c for c in nbformat.read(path, 4).cells if c.cell_type == kind]


def tags(cell):
    return cell.metadata.get("tags", [])


def test_every_inversion_follows_the_recipe_parameter():
    source = "\n".join(c.source for c in cells(INVERSION)).replace("%config", "#")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    runs = [c for c in calls if ast.unparse(c.func).split(".")[-1] in ("invert", "caricature", "estimate")]
    silent = [ast.unparse(c) for c in runs if not {"recipe", None} & {k.arg for k in c.keywords}]
    assert len(runs) >= 9 and not silent


@both
def test_saved_executed_in_order_with_outputs_where_they_are_checked(path):
    code = cells(path)
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    checked = [c for c in code if "nbval-check-output" in tags(c)]
    assert len(checked) >= 3 and all(c.outputs for c in checked)
    kinds = {kind for c in code for o in c.outputs for kind in o.get("data", {})}
    assert "image/jpeg" in kinds and "image/png" not in kinds
    assert not any(o.output_type == "error" or o.get("name") == "stderr" for c in code for o in c.outputs)


@both
def test_small_and_readable(path):
    code = cells(path)
    assert path.stat().st_size <= 1_000_000
    assert max(len(c.source.splitlines()) for c in code) <= 25
    assert len(cells(path, "markdown")) >= len(code)
    assert sum(c.source.count("\ndef ") + c.source.startswith("def ") for c in code) <= 2
    text = " ".join(c.source for c in nbformat.read(path, 4).cells)
    assert "shared/" not in text and "http://" not in text
    for cell in code:
        if any("image/jpeg" in o.get("data", {}) for o in cell.outputs):
            assert any(o.output_type == "stream" for o in cell.outputs), "a picture without a line that tells of it"


@both
def test_parameters_are_those_of_the_contract(path):
    (cell,) = [c for c in cells(path) if "parameters" in tags(c)]
    lines = cell.source.splitlines()
    assert {line.split(":")[0] for line in lines} >= COMMON | OWN[path]
    assert all("  # " in line for line in lines)
    help_text = papermill(["--help-notebook", str(path)]).stdout
    assert all(line.split(":")[0] in help_text for line in lines)


@pytest.mark.parametrize("setting", ["size: int = 224", "regularization: float = 1.0", "interactive: bool = False"])
@both
def test_defaults_shared_by_both(path, setting):
    assert any(setting in c.source for c in cells(path))


def papermill(arguments, **options):
    environment = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"}
    command = [sys.executable, "-m", "papermill", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False, **options)


def execute(path, folder, **values):
    settings = [part for k, v in values.items() for part in ("-y", f"{k}: {json.dumps(v)}")]
    arguments = ["-k", "python3", "--no-progress-bar", "-p", "out", folder, *settings, path, folder / "executed.ipynb"]
    return papermill(arguments)


@pytest.fixture(scope="module")
def inverted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inversion")
    chosen = {"layers": ["block3_conv1", "block5_conv1"], "size": 64, "iterations": 12, "seeds": [3, 4]}
    result = execute(INVERSION, folder, **chosen)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, json.loads((folder / "summary.json").read_text())


def test_inversion_writes_what_it_shows(inverted):
    folder, summary = inverted
    assert summary["parameters"]["layers"] == ["block3_conv1", "block5_conv1"]
    assert summary["parameters"]["iterations"] == 12 and summary["parameters"]["seeds"] == [3, 4]
    assert summary["versions"]["tensorflow"] and summary["seconds"] > 0
    for layer, row in summary["layers"].items():
        assert 0 < row["feature_error"] < 0.9, "twelve steps improve on noise"
        assert len(row["feature_error_per_seed"]) == 2
        assert np.isclose(np.mean(row["feature_error_per_seed"]), row["feature_error"], rtol=1e-5)
        pictures = [images.load(folder / f"{layer}_seed{k}.png") for k in (3, 4)]
        assert all(p.shape == (64, 64, 3) for p in pictures) and not np.array_equal(*pictures)
    assert summary["layers"]["block3_conv1"]["ssim"] > summary["layers"]["block5_conv1"]["ssim"]
    assert len(summary["diversity"]["feature_error"]) == 6
    assert set(summary["recipes"]) == {"pyramid", "mv2016", "mv2015"}
    assert set(summary["ladder"]) == set(summary["layers"]) and summary["channels"]["layer"] == "block5_conv1"
    assert (folder / "evolution.gif").stat().st_size > 0
    assert images.load(folder / "original.png").shape == (64, 64, 3)


def test_the_same_seed_gives_the_same_number_in_another_process(inverted, tmp_path):
    _, summary = inverted
    result = execute(INVERSION, tmp_path, layer="block3_conv1", size=64, iterations=12, seed=3, sections="layers")
    assert result.returncode == 0, result.stderr[-3000:]
    again = json.loads((tmp_path / "summary.json").read_text())["layers"]["block3_conv1"]
    assert np.isclose(again["feature_error"], summary["layers"]["block3_conv1"]["feature_error_per_seed"][0], rtol=0.05)
    assert (tmp_path / "block3_conv1.png").is_file()


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class_score")
    chosen = {"classes": ["goldfish", 963], "size": 96, "iterations": 10, "saliency_method": "smoothgrad"}
    result = execute(CLASS_SCORE, folder, **chosen)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, json.loads((folder / "summary.json").read_text())


def test_class_score_writes_what_it_shows(scored):
    folder, summary = scored
    assert set(summary["class_images"]) == {"simonyan2013", "robust2013", "distill2017", "maco2023"}
    for recipe in summary["class_images"]:
        assert images.load(folder / f"class_1_{recipe}.png").shape == (96, 96, 3)
        assert (folder / f"class_963_{recipe}.png").is_file()
    assert summary["class_images"]["distill2017"]["goldfish"] > 5
    assert 0.1 < summary["diversity"] < 1.1
    assert len(list(folder.glob("class_1_distill2017_seed*.png"))) == 3, "three starts of the first class"
    for name in ("chelsea", "rocket"):
        saved = np.load(folder / f"saliency_smoothgrad_{name}.npy")
        assert saved.shape == (96, 96) and saved.dtype == np.float32 and (saved >= 0).all()


def test_class_score_shows_both_signs_of_the_one_logit(scored):
    folder, summary = scored
    shown = summary["cats_and_dogs"]
    assert shown["classes"] == ["cat", "dog"] and shown["logits"]["chelsea"] < 0
    for recipe in ("simonyan2013", "distill2017"):
        (_, cat), (_, dog) = shown[f"fine-tuned {recipe}"]["cat"], shown[f"fine-tuned {recipe}"]["dog"]
        assert cat < 0 < dog
    assert set(shown) >= {"ImageNet simonyan2013", "ImageNet distill2017"}
    for end in ("", "_imagenet"):
        assert images.load(folder / f"class_cat_distill2017{end}.png").shape == (96, 96, 3)


def test_class_score_measures_its_maps(scored):
    _, summary = scored
    assert set(summary["trust"]) >= {"gradient", "ten_crop", "guided_backprop", "grad_cam", "occlusion"}
    assert all(0 <= row["pointing"] <= 1 and -1 <= row["sanity"] <= 1 for row in summary["trust"].values())
    assert 0 < summary["completeness_gap"] < 0.5
    assert summary["segmentation"]["(all pixels)"]["chelsea"][0] > 0.9


def test_class_score_fine_tunes_on_a_folder_of_photographs(tmp_path):
    rng = np.random.default_rng(0)
    for pet, name in (("cats", "chelsea"), ("dogs", "astronaut")):
        photo = images.load(name)
        for k in range(6):  # windows of one photograph stand for photographs of one class
            top, left = (int(rng.integers(0, n - 200)) for n in photo.shape[:2])
            images.save(photo[top : top + 200, left : left + 200], tmp_path / f"photos/{pet}/{k}.jpg")
    (tmp_path / "photos/dogs/torn.jpg").write_bytes(b"no picture")
    chosen = {"dataset": str(tmp_path / "photos"), "sections": "cats_and_dogs", "iterations": 3, "size": 96}
    result = execute(CLASS_SCORE, tmp_path, **chosen)
    assert result.returncode == 0, result.stderr[-3000:]
    summary = json.loads((tmp_path / "summary.json").read_text())
    training = summary["training"]
    assert np.sum(training["confusion"]) == 2 and list(training["skipped"]) == ["dogs/torn.jpg"]
    assert len(training["curve"]["val_loss"]) >= 2 and "class_images" not in summary
    assert (tmp_path / "finetuned.safetensors").is_file() and (tmp_path / "class_dogs_distill2017.png").is_file()


@pytest.mark.parametrize(
    ("path", "setting", "words"),
    [
        (INVERSION, {"layer": "block4_conv9"}, "did you mean block4_conv"),
        (CLASS_SCORE, {"classes": ["goldfisch"]}, "did you mean goldfish"),
        (CLASS_SCORE, {"dataset": "pets"}, "into one sub-folder a class"),
        (CLASS_SCORE, {"recipe": "distil2017"}, "did you mean distill2017"),
        (CLASS_SCORE, {"foreground": 0.2}, "background < foreground"),
        (INVERSION, {"iterations": 0}, "at least 1"),
        (INVERSION, {"size": 8}, "at least 32"),
        (CLASS_SCORE, {"seed": [3, 4]}, "seed must be a whole number"),
    ],
)
def test_a_wrong_value_stops_early_with_one_sentence(path, setting, words, tmp_path):
    result = execute(path, tmp_path, **setting)
    assert result.returncode == 1 and words in result.stderr
    executed = [c for c in nbformat.read(tmp_path / "executed.ipynb", 4).cells if c.cell_type == "code"]
    ran = [c for c in executed if c.execution_count and "papermill-error-cell-tag" not in tags(c)]
    assert len(ran) <= 3, "parameters, injected parameters, checks"
    (error,) = [o for c in ran for o in c.outputs if o.output_type == "error"]
    assert len(error.traceback) == 1 and "\n" not in error.evalue
