"""`python -m vizlib finetune` on two folders of coloured noise and a network of one convolution."""

import re

import keras
import numpy as np
import pytest

from vizlib import images, networks
from viztools import commands as command_line

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    for channel, hue in enumerate(("red", "green")):
        for k in range(10):
            picture = 0.4 * RNG.random((20, 20, 3))
            picture[..., channel] += 0.5
            images.save(picture, tmp_path / "photographs" / hue / f"{k}.png")
    (tmp_path / "photographs" / "red" / "torn.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return tmp_path


def written(path):
    keras.utils.set_random_seed(1)
    start = keras.Input((None, None, 3))
    grid = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="only")(start)
    networks.write(networks.wrap(keras.Model(start, grid), preprocessing="tf", size=16), path)
    return f"{path}.json"


def test_finetune_trains_writes_and_tells(folder, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    base = written(folder / "base")
    arguments = ["finetune", folder / "photographs", "--out", "~/new/mine.json", "--network", base]
    arguments += ["--frozen-below", "only", "--epochs", "2", "6", "--seed", "1"]
    assert command_line.main([str(a) for a in arguments]) == 0
    told = capsys.readouterr().out
    assert "16 photographs to train on, 4 held out, 1 skipped\n  red/torn.jpg" in told
    found = re.search(r"(\S+)% of the 4 held out .* \('green', 'red'\): (\[.*\])", told)
    assert np.sum(eval(found[2])) == 4
    assert float(found[1]) == pytest.approx(100 * np.trace(eval(found[2])) / 4)
    assert {p.name for p in (folder / "new").iterdir()} == {"mine.json", "mine.safetensors"}
    network = networks.read(folder / "new/mine")
    assert (network.name, network.classes, network.size) == ("mine", ("green", "red"), 16)
    assert network.model.output_shape == (None, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--network": "mobilnet"}, "Unknown network 'mobilnet'"),
        ({"--frozen-below": "lonely"}, "Unknown layer 'lonely': did you mean only"),
        ({"--epochs": "2.5"}, "epochs must be a whole number"),
        ({"--size": "4"}, "size must be a number from 8 to 4096"),
        ({"folder": "nowhere"}, "has no sub-folder"),
        ({"--out": "photographs/red/0.png/mine"}, "0.png"),
        ({"--out": "mine/"}, "mine/ names a folder, not the files in it; give for example --out /"),
        ({"--out": "mine/.json"}, "names a folder"),
        ({"--out": "mine/.."}, "names a folder"),
        ({"--out": "."}, "names a folder"),
        ({"--out": "photographs"}, "names a folder"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_status_2(folder, capsys, monkeypatch, changed, said):
    monkeypatch.chdir(folder)
    given = {"folder": "photographs", "--out": "mine", "--network": written(folder / "base"), "--frozen-below": "only"}
    given = {**given, **changed}
    arguments = ["finetune", given.pop("folder"), *(part for pair in given.items() for part in pair)]
    assert command_line.main(arguments + (["3"] if "--epochs" in changed else [])) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("vizlib: ") and said in told and not list(folder.glob("mine*"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["finetune", "photographs", "--out", ""], "--out: it is empty"),
        (["gallery", "out", "--rows", " "], "--rows: it is empty"),
        (["sweep", "points.yaml", "--workers", "0"], "--workers: it must be a whole number of at least 1, not '0'"),
    ],
)
def test_what_the_parser_refuses_it_explains(capsys, given, said):
    with pytest.raises(SystemExit) as ended:
        command_line.main(given)
    told = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and said in told and "try it" not in told
