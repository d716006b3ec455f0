"""The seam: preprocessing inside, layers cut anywhere, weights checked, every wrong name told in one sentence."""

import json

import keras
import numpy as np
import pytest

from vizlib import files, images, networks

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def vgg():
    return networks.load("vgg16")


@pytest.fixture(scope="module")
def lite():
    return networks.load("efficientnet_lite0")


def sentence(function, *arguments, **options):
    with pytest.raises(ValueError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tiny(activation=None):
    """Global average, then a dense layer: logits in closed form."""
    start = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(start)
    return keras.Model(start, keras.layers.Dense(4, activation=activation, name="scores")(x), name="tiny")


def test_vgg16_is_the_original(vgg):
    kernel = vgg.model.get_layer("block1_conv1").get_weights()[0]
    np.testing.assert_allclose(kernel[0, :, 0, 0], [0.42947057, 0.373467, -0.06136011], rtol=1e-3)
    last = vgg.model.get_layer("block5_conv3").get_weights()[1]
    assert np.isclose(last.mean(), 0.14986369, rtol=1e-3) and np.isclose(last.std(), 0.4928213, rtol=1e-3)
    assert len(vgg.main) == 18 and vgg.stride("block3_conv1") == 4 and vgg.stride("block5_conv3") == 16


def test_vgg16_gets_its_own_preprocessing(vgg):
    photo = images.load("chelsea", size=64)
    expected = keras.applications.vgg16.preprocess_input(255 * photo[None].astype("float64"))
    seen = keras.Model(vgg.model.input, vgg.model.get_layer("preprocess").output)(photo[None])
    np.testing.assert_allclose(seen, expected, atol=1e-3)
    zero = keras.Model(vgg.model.input, vgg.model.get_layer("preprocess").output)(np.full((1, 1, 1, 3), vgg.mean))
    np.testing.assert_allclose(zero, np.zeros((1, 1, 1, 3)), atol=1e-3)


@pytest.mark.parametrize("kind", networks.PREPROCESSING)
def test_each_preprocessing_is_its_formula(kind):
    model, picture = tiny(), RNG.random((8, 8, 3)).astype(np.float32)
    scale, mean, reverse = networks.PREPROCESSING[kind]
    seen = (255 * picture.astype(float) - mean) * scale
    seen = seen[..., ::-1] if reverse else seen
    kernel, bias = model.get_layer("scores").get_weights()
    logits = networks.wrap(model, preprocessing=kind).logits(picture)
    np.testing.assert_allclose(logits, seen.mean((0, 1)) @ kernel + bias, rtol=1e-3, atol=1e-3)


def test_efficientnet_knows_a_cup_of_espresso(lite):
    (name, probability), *_ = lite.top(images.load("coffee", size=224))
    assert name == "espresso" and probability > 0.8
    assert lite.logits(images.load("coffee", size=224)).shape == (1000,)


def test_bfloat16_stays_near_float32(vgg):
    photo = images.load("chelsea", size=64)[None]
    exact, fast = (vgg.features("block4_conv3", precision=p)(photo).numpy() for p in ("float32", "bfloat16"))
    change = np.linalg.norm(fast.astype(np.float32) - exact) / np.linalg.norm(exact)
    assert 0 < change < 0.05


def test_a_softmax_is_taken_off_with_a_warning_and_logits_are_used():
    model, picture = tiny("softmax"), RNG.random((8, 8, 3)).astype(np.float32)
    with pytest.warns(UserWarning, match="logits before scores"):
        network = networks.wrap(model, preprocessing="0-1")
    logits = network.logits(picture)
    softmax = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(softmax, model(picture[None])[0], rtol=1e-4)


def test_probabilities_that_cannot_be_undone_are_refused():
    start = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(start)
    shares = x / keras.ops.sum(x, axis=-1, keepdims=True)
    assert "probabilities" in sentence(networks.wrap, keras.Model(start, shares), preprocessing="0-1")


def test_one_logit_has_two_directions():
    start = keras.Input((8, 8, 3))
    head = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(start))
    network = networks.wrap(keras.Model(start, head), preprocessing="0-1", classes=("cat", "dog"))
    np.testing.assert_array_equal([network.direction("cat"), network.direction("dog")], [[-1.0], [1.0]])
    chances = dict(network.top(RNG.random((8, 8, 3)).astype(np.float32), k=2))
    assert np.isclose(sum(chances.values()), 1) and set(chances) == {"cat", "dog"}


def test_classes_by_name_part_and_index(lite):
    assert lite.class_index("goldfish") == lite.class_index(1) == lite.class_index("1") == 1
    assert lite.class_index("king_penguin") == lite.class_index("King Penguin") == 145
    assert "fits" in sentence(lite.class_index, "terrier") and "Norfolk terrier" in sentence(
        lite.class_index, "terrier"
    )
    assert "did you mean goldfish" in sentence(lite.class_index, "goldfisch")
    assert "0 to 999" in sentence(lite.class_index, 1000) and "0 to 999" in sentence(lite.class_index, -1)


def test_wrong_names_are_told_with_near_ones(vgg, lite):
    assert "did you mean block4_conv" in sentence(vgg.features, "block4_conv9")
    assert "vgg16" in sentence(networks.load, "vgg61")
    assert "float32" in sentence(vgg.features, "block1_conv1", precision="float61")
    assert "no classifier" in sentence(vgg.classifier)
    assert "preprocessing" in sentence(networks.wrap, tiny(), preprocessing="imagenet")


@pytest.fixture
def pair(tmp_path):
    """A small network as it is written, in a folder of its own that a test may damage."""
    network = networks.wrap(tiny(), preprocessing="caffe", classes=("a", "b", "c", "d"))
    networks.write(network, tmp_path / "tiny")
    return network, tmp_path / "tiny"


def test_a_written_network_comes_back(pair, lite):
    network, path = pair
    picture = RNG.random((8, 8, 3)).astype(np.float32)
    for again in (networks.read(path), networks.load(f"{path}.json"), networks.load(f"{path}.safetensors")):
        np.testing.assert_allclose(again.logits(picture), network.logits(picture), rtol=1e-2, atol=0.2)
        assert all(getattr(again, key) == getattr(network, key) for key in networks.ABOUT)
        assert again.layers == network.layers
        for one, other in zip(
            again.model.get_layer("preprocess").weights, network.model.get_layer("preprocess").weights
        ):
            np.testing.assert_array_equal(one, other)
    networks.write(network, path, precision="float32")
    np.testing.assert_allclose(networks.read(path).logits(picture), network.logits(picture), rtol=1e-6)
    assert "block3a_add" not in lite.layers and lite.main[0] == "stem_relu" and "preprocess" not in lite.layers


def test_missing_altered_and_truncated_networks_are_told(pair):
    _, path = pair
    weights, about = (path.with_suffix(suffix) for suffix in (".safetensors", ".json"))
    content, text = weights.read_bytes(), about.read_text()
    for damaged in (content[:-1] + bytes([content[-1] ^ 1]), content[:100], b""):
        weights.write_bytes(damaged)
        assert "SHA-256" in sentence(networks.read, path)
    weights.write_bytes(content)
    for damaged in (text[:200], "[]", "{}", text.replace("Dense", "Dnse"), text.replace('"bias"', '"bases"')):
        about.write_text(damaged)
        assert "The network tiny cannot be read (" in sentence(networks.read, path)
    about.unlink()
    assert "tiny.json and tiny.safetensors" in sentence(networks.read, path)
    about.write_text(text)
    weights.unlink()
    assert "No such file" in sentence(networks.read, path)


def test_a_written_network_runs_no_code_of_its_own(pair):
    _, path = pair
    about = json.loads(path.with_suffix(".json").read_text())
    evil = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x)])
    about["model"] = json.loads(evil.to_json())
    path.with_suffix(".json").write_text(json.dumps(about))
    assert "Lambda" in sentence(networks.read, path)


def test_networks_that_need_a_download_say_so_when_it_fails(monkeypatch):
    def offline(**options):
        raise Exception("URL fetch failure on https://example.org/vgg19.h5: None -- [Errno -2]\nName or service")

    monkeypatch.setattr(keras.applications, "VGG19", offline)
    told = sentence(networks.load, "vgg19")
    assert "vgg19 needs weights" in told and " or vgg16" in told


def test_every_downloadable_network_exists_in_keras():
    assert all(hasattr(keras.applications, function) for function, _ in networks.DOWNLOADED.values())
    names = json.loads(files.data_path("imagenet_classes.json").read_text(encoding="utf-8"))
    assert len(set(names)) == 1000 == len(networks.imagenet_classes())
