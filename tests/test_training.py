"""Fine-tuning on folders made on the fly: two classes of coloured noise, a network of two convolutions."""

import sys
import types
import warnings

import keras
import numpy as np
import pytest

from vizlib import images, networks, training
from vizlib.errors import InputError

SIZE = 32
QUICK = {"frozen_below": "second", "epochs": (1, 3), "rates": (1e-2, 1e-2), "batch": 8, "verbose": 0}


def noise(hue, seed):
    colour = np.array({"red": (0.8, 0.3, 0.3), "blue": (0.3, 0.3, 0.8), "green": (0.3, 0.8, 0.3)}[hue])
    return np.clip(colour + 0.2 * np.random.default_rng(seed).normal(size=(40, 48, 3)), 0, 1).astype("float32")


def folder_of(path, *, red=15, **others):
    for hue, count in {"red": red, **others}.items():
        for k in range(count):
            images.save(noise(hue, 100 * len(hue) + k), path / hue / f"{k:02}.png")
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("photographs"), blue=15)


@pytest.fixture(scope="module")
def data(photographs):
    return training.dataset(photographs, size=SIZE)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    x = start = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(x)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(5, name="old_head")(x)
    return networks.wrap(keras.Model(start, x), preprocessing="tf", name="small", size=SIZE)


@pytest.fixture(scope="module")
def tuned(network, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return training.finetune(network, data, **QUICK)


def weights(network):
    layers = [layer for layer in network.model.layers if layer.name != "preprocess"]
    return {f"{layer.name}/{w.name}": np.array(w) for layer in layers for w in layer.weights}


def logits(network, pixels):
    return np.asarray(network.classifier()(pixels / np.float32(255)))


# --- data


def test_dataset_splits_every_class_alike_and_keeps_pixels(photographs, data):
    assert data.classes == ("blue", "red") and data.skipped == {}
    for (pixels, labels, names), share in zip(data[:2], (0.8, 0.2), strict=True):
        assert pixels.shape == (len(labels), SIZE, SIZE, 3) and pixels.dtype == np.uint8
        assert [data.classes[i] for i in labels] == [name.split("/")[0] for name in names]
        assert np.bincount(labels).tolist() == [15 * share] * 2
    both = [*data.train[2], *data.validation[2]]
    assert len(set(both)) == len(both) == 30
    pixels, _, names = data.train
    assert (pixels[5] == images.to_uint8(images.load(photographs / names[5], size=SIZE))).all()


def test_dataset_split_depends_on_the_seed_only(photographs, data):
    again, other = (training.dataset(photographs, size=SIZE, seed=s) for s in (0, 1))
    assert (again.validation[2] == data.validation[2]).all() and (again.train[0] == data.train[0]).all()
    assert set(other.validation[2]) != set(data.validation[2])


def test_unreadable_and_repeated_pictures_are_named_and_skipped(tmp_path):
    folder_of(tmp_path, red=3, blue=3)
    (tmp_path / "red" / "broken.jpg").write_bytes((tmp_path / "red" / "00.png").read_bytes()[:300])
    (tmp_path / "red" / "notes.txt").write_text("no picture")
    images.save(images.load(tmp_path / "red" / "01.png"), tmp_path / "red" / "copy.png")
    (tmp_path / "red" / ".hidden").write_text("not looked at")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.png").write_text("not looked at")
    data = training.dataset(tmp_path, size=SIZE)
    assert data.classes == ("blue", "red")
    assert set(data.skipped) == {"red/broken.jpg", "red/notes.txt", "red/copy.png"}
    assert data.skipped["red/copy.png"] == "It is the same picture as red/01.png."
    assert all(name.split("/")[1] in why for name, why in data.skipped.items() if name != "red/copy.png")
    assert len(data.train[1]) + len(data.validation[1]) == 6


def test_a_picture_in_two_classes_is_reported(tmp_path):
    folder_of(tmp_path, red=3, blue=3)
    (tmp_path / "red" / "stray.png").write_bytes((tmp_path / "blue" / "02.png").read_bytes())
    assert training.dataset(tmp_path, size=SIZE).skipped == {"red/stray.png": "It is the same picture as blue/02.png."}


def test_limit_counts_files_a_class(photographs):
    data = training.dataset(photographs, size=SIZE, limit=4)
    assert len(data.train[1]) + len(data.validation[1]) == 8


@pytest.mark.parametrize(
    ("others", "found"),
    [({"red": 0}, "no sub-folder"), ({}, "15 of red"), ({"blue": 1}, "1 of blue, 15 of red")],
)
def test_too_few_classes_or_pictures_is_one_sentence(tmp_path, others, found):
    with pytest.raises(InputError, match=rf"has {found}, .*; put them into one sub-folder a class\.$"):
        training.dataset(folder_of(tmp_path, **others), size=SIZE)


@pytest.mark.parametrize("share", [0, 1, -1, float("nan")])
def test_validation_is_a_share(photographs, share):
    with pytest.raises(InputError, match=r"validation must be a number from 0\.01 to 0\.99"):
        training.dataset(photographs, size=SIZE, validation=share)


def test_two_pictures_a_class_are_enough(tmp_path):
    data = training.dataset(folder_of(tmp_path, red=2, blue=2), size=SIZE)
    assert sorted(data.train[1]) == sorted(data.validation[1]) == [0, 1]


def fake_tfds(fail=None):
    """As much of tensorflow_datasets as is used: undecoded pictures with their labels."""
    pictures = [(images.encode(noise(hue, k)), y) for k in range(6) for y, hue in enumerate(("blue", "red"))]
    pictures.insert(3, (pictures[0][0][:200], 0))
    asked = []

    def load(name, **options):
        if fail:
            raise fail
        asked.append((name, options))
        label = types.SimpleNamespace(names=["cat", "dog"])
        return pictures, types.SimpleNamespace(features={"label": label})

    decode = types.SimpleNamespace(SkipDecoding=lambda: "undecoded")
    return types.SimpleNamespace(load=load, as_numpy=iter, asked=asked, decode=decode)


def test_tfds_gives_the_same_kind_of_dataset(monkeypatch):
    fake = fake_tfds()
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    data = training.dataset("tfds:cats_vs_dogs", size=SIZE, limit=6)
    wanted = {"as_supervised": True, "with_info": True, "decoders": {"image": "undecoded"}, "split": "train[:12]"}
    assert fake.asked == [("cats_vs_dogs", wanted)] and list(data.skipped) == ["cats_vs_dogs[3]"]
    assert data.classes == ("cat", "dog") and len(data.train[1]) + len(data.validation[1]) == 12
    whole = {name: images.load(picture, size=SIZE) for name, (picture, _) in tfds_pictures(fake)}
    for pixels, label, name in zip(*data.train):
        assert (pixels == images.to_uint8(whole[name])).all()
        assert label == int(pixels[..., 0].mean() > pixels[..., 2].mean())


def tfds_pictures(fake):
    pictures, _ = fake.load("cats_vs_dogs")
    return [(f"cats_vs_dogs[{i}]", pair) for i, pair in enumerate(pictures) if i != 3]


@pytest.mark.parametrize(
    ("module", "said"), [(None, "pip install tensorflow-datasets"), (fake_tfds(OSError("no\nroute")), r"\(no route\)")]
)
def test_tfds_absent_or_offline_is_one_sentence(monkeypatch, module, said):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    with pytest.raises(InputError, match=said) as error:
        training.dataset("tfds:cats_vs_dogs", size=SIZE)
    assert "tfds:cats_vs_dogs cannot be had" in str(error.value) and "\n" not in str(error.value)


# --- training


def test_loss_falls_frozen_layers_stay_and_the_source_is_untouched(network, data, tuned):
    before = weights(network)
    by_index = {**QUICK, "frozen_below": network.layers.index("second")}
    (tuned, history), (again, _) = tuned, training.finetune(network, data, **by_index)
    assert {len(curve) for curve in history.values()} == {4}
    assert set(history) >= {"loss", "val_loss", "accuracy", "val_accuracy"}
    assert history["val_loss"][-1] < 0.9 * history["val_loss"][0]
    assert training.evaluate(tuned, *data.validation[:2])[0] == 1.0
    new = weights(tuned)
    assert all((value == before[name]).all() for name, value in new.items() if name.startswith("first"))
    assert (new["second/kernel"] != before["second/kernel"]).any()
    ours, theirs = (n.model.get_layer("preprocess").get_weights() for n in (tuned, network))
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))
    assert all((value == before[name]).all() for name, value in weights(network).items())
    assert all((value == new[name]).all() for name, value in weights(again).items())


def test_the_head_alone_can_be_trained(network, data):
    tuned, _ = training.finetune(network, data, **{**QUICK, "frozen_below": "predictions"})
    old, new = weights(network), weights(tuned)
    assert all((new[name] == old[name]).all() for name in old if not name.startswith("old_head"))


def test_same_seed_same_weights(network, data):
    quicker = {**QUICK, "epochs": (1, 1)}
    first, again, other = (weights(training.finetune(network, data, seed=s, **quicker)[0]) for s in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value)
    assert (other["second/kernel"] != first["second/kernel"]).any()


def test_the_best_epoch_is_kept_and_patience_ends_a_stage(network, data):
    pixels, labels, names = data.validation
    wrong = data._replace(validation=(pixels, 1 - labels, names))  # so that training makes validation worse
    tuned, history = training.finetune(network, wrong, **{**QUICK, "epochs": (1, 30), "patience": 2})
    losses = history["val_loss"]
    assert len(losses) == 4 and np.argmin(losses[1:]) == 0
    right = logits(tuned, pixels)[:, 0] * (1 - 2 * labels)
    assert np.logaddexp(0, -right).mean() == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("epoch", [2, 3])
def test_ctrl_c_keeps_the_best_epoch(network, data, epoch):
    """Two epochs of the head, then all: interrupted amid the first epoch of the second stage, or amid its second."""

    class Stop(keras.callbacks.Callback):
        ended, weights = 0, None

        def on_epoch_end(self, epoch, logs=None):
            self.ended, self.weights = self.ended + 1, self.model.get_weights()

        def on_train_batch_end(self, batch, logs=None):
            if self.ended == epoch and batch == 1:
                raise KeyboardInterrupt

    stop = Stop()
    tuned, history = training.finetune(network, data, callbacks=[stop], **{**QUICK, "epochs": (2, 3)})
    assert len(history["loss"]) == stop.ended == epoch
    for kept, best in zip(tuned.model.get_weights(), stop.weights, strict=True):
        np.testing.assert_array_equal(kept, best)


def test_batch_norms_keep_their_statistics(data):
    x = start = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, name="first")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    base = networks.wrap(keras.Model(start, x), preprocessing="0-1", name="normed")
    tuned, _ = training.finetune(base, data, **{**QUICK, "frozen_below": 0})
    old, new = weights(base), weights(tuned)
    assert all((new[name] == old[name]).all() for name in old if name.startswith("norm"))
    assert (new["first/kernel"] != old["first/kernel"]).any()


def test_three_classes_have_three_logits(network, tmp_path):
    data = training.dataset(folder_of(tmp_path, blue=15, green=15), size=SIZE)
    tuned, history = training.finetune(network, data, **{**QUICK, "epochs": (2, 6)})
    assert tuned.classes == ("blue", "green", "red") and tuned.model.output.shape == (None, 3)
    assert history["val_loss"][-1] < history["val_loss"][0]
    accuracy, confusion, _ = training.evaluate(tuned, *data.train[:2])
    assert accuracy > 0.6 and confusion.shape == (3, 3) and confusion.sum() == len(data.train[1])


def test_diverging_is_said(network, data):
    with pytest.raises(InputError, match=r"Training diverged at rates \(1e\+38"):
        training.finetune(network, data, **{**QUICK, "rates": (1e38, 1e38)})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frozen_below": "secnd"}, "did you mean second"),
        ({"frozen_below": 99}, "index below"),
        ({"epochs": (0, 1)}, "epochs must be a whole number"),
        ({"batch": 0}, "batch must be a whole number"),
    ],
)
def test_wrong_options_are_told_before_training(network, data, options, said):
    started = []
    heard = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: started.append(1))
    with pytest.raises(InputError, match=said):
        training.finetune(network, data, callbacks=[heard], **{**QUICK, **options})
    assert not started


# --- evaluation


def linear(weight):
    """One logit: `weight` times (mean red − mean blue)."""
    x = start = keras.Input((None, None, 3))
    head = keras.layers.Dense(1, name="head")
    model = keras.Model(start, head(keras.layers.GlobalAveragePooling2D()(x)))
    head.set_weights([np.float32([[weight], [0], [-weight]]), np.zeros(1, np.float32)])
    return networks.wrap(model, preprocessing="0-1", name="linear", classes=("blue", "red"), size=8)


def flat(red, blue):
    return np.broadcast_to(np.float32([red, 0, blue]), (8, 8, 3))


def test_evaluate_against_a_closed_form():
    pictures = images.to_uint8([flat(1, 0), flat(0, 1), flat(0, 0.6), flat(0.8, 0), flat(0.2, 0)])
    labels = np.array([1, 0, 1, 0, 0])
    accuracy, confusion, mistakes = training.evaluate(linear(4.0), pictures, labels)
    assert accuracy == pytest.approx(2 / 5)
    assert confusion.tolist() == [[1, 2], [1, 1]]
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    wanted = [(3, "red", sigmoid(3.2)), (2, "blue", sigmoid(2.4)), (4, "red", sigmoid(0.8))]
    assert [m[:2] for m in mistakes] == [w[:2] for w in wanted]
    np.testing.assert_allclose([m[2] for m in mistakes], [w[2] for w in wanted], rtol=1e-5)


# --- the shipped network


@pytest.fixture(scope="module")
def shipped():
    return networks.load("mobilenet_v2_cats_vs_dogs")


def test_the_shipped_network_knows_the_cat(shipped):
    image = images.load("chelsea", size=shipped.size)
    (best, probability), _ = shipped.top(image)
    assert best == "cat" and probability > 0.9
    assert shipped.logits(image).shape == (1,) and shipped.logits(image)[0] < 0


def test_one_logit_points_to_dog_and_away_from_cat(shipped):
    assert shipped.classes == ("cat", "dog") and shipped.size == 160
    assert shipped.direction("cat").tolist() == [-1.0] and shipped.direction("dog").tolist() == [1.0]
    logits = shipped.logits(images.load("chelsea", size=160))
    assert logits @ shipped.direction("cat") > 0 > logits @ shipped.direction("dog")
