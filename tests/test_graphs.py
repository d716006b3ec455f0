"""Graphs taken apart and put together again compute what they did, whatever shape a user's model has."""

import warnings

import numpy as np
import pytest

from vizlib import graphs, networks
from vizlib.backend import keras, tf
from vizlib.errors import InputError

layers, ops = keras.layers, keras.ops
RNG = np.random.default_rng(0)
SHAPE = (12, 10, 3)
IMAGES = np.random.default_rng(0).random((2, *SHAPE), np.float32)


@pytest.fixture(autouse=True)
def same_weights():
    keras.utils.set_random_seed(0)


def functional(*parts, shape=SHAPE, **options):
    x = image = keras.Input(shape)
    for part in parts:
        x = part(x)
    return keras.Model(image, x, **options)


def backbone(**options):
    return functional(
        layers.Conv2D(4, 3, padding="same", activation="relu", name="conv"), layers.Conv2D(3, 1, name="last"),
        shape=(None, None, 3), name="backbone", **options,
    )  # fmt: skip


def nested():
    return functional(backbone(), layers.GlobalAveragePooling2D(), layers.Dense(2, name="head"))


def sequential_inside():
    inner = keras.Sequential([layers.Conv2D(3, 3), layers.ReLU()], name="inner")
    return functional(inner, layers.Flatten(), layers.Dense(2))


def inside_sequential():
    return keras.Sequential([keras.Input(SHAPE), backbone(), keras.Sequential([layers.Flatten(), layers.Dense(2)])])


def shared_layer():
    convolution = layers.Conv2D(3, 3, padding="same", activation="relu", name="shared")
    return functional(convolution, lambda x: layers.Add()([x, convolution(x)]), convolution)


def shared_model():
    inner = backbone()
    return functional(inner, layers.ReLU(), inner)


def shared_model_at_once():
    inner = backbone()
    return functional(inner, inner)


def siamese():
    inner = backbone()
    return functional(lambda x: layers.Subtract()([inner(x), inner(x[:, ::-1])]))


def two_outputs_inside():
    image = keras.Input(SHAPE)
    x = layers.Conv2D(3, 3, name="first")(image)
    inner = keras.Model(image, [layers.ReLU()(x), layers.MaxPooling2D()(x)])
    return functional(inner, lambda ends: layers.Concatenate()([layers.GlobalMaxPooling2D()(e) for e in ends]))


def passes_its_input_on():
    image = keras.Input(SHAPE)
    inner = keras.Model(image, [image, layers.Conv2D(3, 3, padding="same")(image)])
    return functional(lambda x: layers.Add()(inner(x)))


def lists_of_one():
    image = keras.Input(SHAPE)
    return keras.Model([image], [layers.Conv2D(3, 3)(image)])


def dictionaries():
    image = keras.Input(SHAPE, name="image")
    return keras.Model({"image": image}, {"map": layers.Conv2D(3, 3)(image)})


def plain_operations():
    return functional(layers.Conv2D(4, 3), lambda x: ops.concatenate([2 * ops.relu(x[:, 1:]), x[:, :-1] ** 2], axis=-1))


def batch_norm_and_dropout():
    return functional(layers.RandomFlip(), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Dropout(0.5))


def compiled():
    model = nested()
    model.compile(optimizer="adam", loss=lambda wanted, given: ops.mean(wanted - given), metrics=["accuracy"])
    return model


def three_levels():
    return functional(functional(backbone(), layers.ReLU(), shape=(None, None, 3)), layers.MaxPooling2D())


KINDS = [nested, sequential_inside, inside_sequential, shared_layer, shared_model, shared_model_at_once, siamese,
         two_outputs_inside, passes_its_input_on, lists_of_one, dictionaries, plain_operations, batch_norm_and_dropout,
         compiled, three_levels]  # fmt: skip
every_kind = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)


def single(output):
    (array,) = keras.tree.flatten(output)
    return np.asarray(array)


@every_kind
def test_wrapped_models_compute_what_they_did_and_stay_as_they_were(make):
    model = make()
    config, weights, expected = model.get_config(), model.get_weights(), single(model(IMAGES, training=False))
    network = networks.wrap(model, preprocessing="0-1")
    np.testing.assert_allclose(network.model(IMAGES, training=False), expected, rtol=1e-5, atol=1e-6)
    assert str(model.get_config()) == str(config)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(single(model(IMAGES, training=False)), expected)


@every_kind
def test_in_bfloat16_they_compute_nearly_the_same(make):
    model = networks.wrap(make(), preprocessing="0-1").model
    half = graphs.rebuild(model, graphs.in_bfloat16)[0]
    assert half.get_layer("preprocess").compute_dtype == "float32"
    expected, found = (np.asarray(m(IMAGES, training=False), np.float32) for m in (model, half))
    assert 0 < np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_features_of_a_nested_layer_are_the_inner_models_own():
    inner = backbone()
    outer = functional(layers.Rescaling(2.0), inner, layers.GlobalAveragePooling2D())
    network = networks.wrap(outer, preprocessing="0-1")
    assert network.layers[1:3] == ("conv", "last") and len(network.layers) == 4
    own = keras.Model(inner.input, inner.get_layer("conv").output)
    np.testing.assert_allclose(network.features("conv")(IMAGES), own(2 * IMAGES), rtol=1e-5)


def test_names_that_are_taken_get_their_owners_in_front():
    ahead = functional(layers.Conv2D(3, 1, name="conv"), shape=(None, None, 3), name="ahead")
    parts = [layers.Conv2D(3, 1, name="conv"), backbone(), ahead]
    for _ in range(2):  # the same names two levels down
        parts.append(functional(backbone(), shape=(None, None, 3)))
    model = functional(*parts)
    network = networks.wrap(model, preprocessing="0-1")
    assert network.layers[:4] == ("conv", "backbone_conv", "last", "ahead_conv")
    assert len(network.layers) == len(set(network.layers)) == 8
    np.testing.assert_allclose(network.model(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-6)


def test_a_layer_called_preprocess_is_a_layer_like_others():
    model = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(2, 3, name="preprocess")], name="mine")
    network = networks.wrap(model, preprocessing="tf")
    assert network.layers == ("mine_preprocess",)
    np.testing.assert_allclose(network.model(IMAGES), model(2 * IMAGES - 1), rtol=1e-4, atol=1e-5)


def test_layers_are_shared_with_the_users_model_so_training_it_shows():
    model = nested()
    network = networks.wrap(model, preprocessing="0-1")
    model.get_layer("head").set_weights([w + 1 for w in model.get_layer("head").get_weights()])
    np.testing.assert_allclose(network.model(IMAGES), model(IMAGES), rtol=1e-5)


# ---------------------------------------------------------------- probabilities


def ends_in(*top):
    return functional(layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), *top)


def softmax_nested():
    return functional(ends_in(layers.Dense(3, activation="softmax")), name="outer")


def softmax_whose_name_is_taken():
    inner = functional(layers.Conv2D(3, 3, name="top"), layers.Flatten())
    return functional(inner, layers.Dense(3, activation="softmax", name="top"))


SOFTMAX = {
    "dense": lambda: ends_in(layers.Dense(3, activation="softmax")),
    "activation": lambda: ends_in(layers.Dense(3), layers.Activation("softmax")),
    "layer": lambda: ends_in(layers.Dense(3), layers.Softmax()),
    "nested": softmax_nested,
    "name taken": softmax_whose_name_is_taken,
}


@pytest.mark.parametrize("kind", SOFTMAX)
def test_logits_are_recovered_from_a_softmax_with_a_warning(kind):
    model = SOFTMAX[kind]()
    with pytest.warns(UserWarning, match="ends in probabilities; its logits"):
        network = networks.wrap(model, preprocessing="0-1")
    logits, probabilities = np.asarray(network.classifier()(IMAGES)), single(model(IMAGES))
    np.testing.assert_allclose(ops.softmax(logits), probabilities, rtol=1e-5)
    assert not np.allclose(logits.sum(axis=1), 1)
    np.testing.assert_allclose(model(IMAGES), probabilities), "the user's model keeps its softmax"


@pytest.mark.parametrize("layer", [layers.Dense, layers.Conv2D])
def test_recovered_logits_are_those_of_the_last_layer(layer):
    model = ends_in(layers.Dense(1, activation="sigmoid", name="top"))
    with pytest.warns(UserWarning, match="before top"):
        network = networks.wrap(model, preprocessing="0-1")
    kernel, bias = model.get_layer("top").get_weights()
    hidden = keras.Model(model.input, model.layers[-2].output)(IMAGES)
    np.testing.assert_allclose(network.classifier()(IMAGES), hidden @ kernel + bias, rtol=1e-5)


def test_probabilities_that_cannot_be_undone_are_refused():
    hidden = [
        ends_in(layers.Dense(3), ops.softmax),
        ends_in(layers.Dense(3, activation="softmax"), layers.Dropout(0.1)),
        ends_in(layers.Dense(3), layers.Lambda(lambda x: ops.exp(x) / ops.sum(ops.exp(x), axis=1, keepdims=True))),
    ]
    for model in hidden:
        with pytest.raises(InputError, match="without its softmax") as caught:
            networks.wrap(model, preprocessing="0-1")
        assert model.name in str(caught.value) and "\n" not in str(caught.value)


def test_logits_are_taken_as_they_are_without_a_warning():
    for top in (layers.Dense(3), layers.Dense(1), layers.Dense(3, activation="relu")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            networks.wrap(ends_in(top), preprocessing="0-1")


# ---------------------------------------------------------------- what is no network of images


def two_inputs():
    ends = [keras.Input(SHAPE), keras.Input(SHAPE)]
    return keras.Model(ends, layers.Add()(ends))


def two_outputs():
    image = keras.Input(SHAPE)
    return keras.Model(image, [image, layers.Conv2D(3, 3)(image)])


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (two_inputs, "one batch of RGB images"),
        (two_outputs, "give one output"),
        (lambda: functional(layers.Conv2D(2, 3), shape=(8, 8, 1)), "RGB images"),
        (lambda: functional(layers.Dense(2), shape=(8,)), "takes [(None, 8)]"),
        (lambda: functional(layers.Dense(2), shape=(3, 8, 8)), "(None, H, W, 3)"),
        (lambda: keras.Sequential([layers.Conv2D(2, 3)]), "not built for yet"),
        (Subclassed, "Subclassed is no functional or sequential Keras model"),
        (lambda: "vgg16", "str is no functional or sequential Keras model"),
    ],
)
def test_what_is_no_graph_of_one_image_is_told_in_one_sentence(make, words):
    with pytest.raises(InputError) as caught:
        networks.wrap(make(), preprocessing="0-1")
    assert words in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------- gradients that find ways where the true one is zero


def softened(*layers, **shares):
    model = keras.Sequential([keras.Input((None, None, 2)), *layers])
    return graphs.rebuild(model, lambda layer: graphs.soften(layer, **shares))[0]


def slope(model, x, weights):
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(model(x) * weights)
    return tape.gradient(total, x).numpy()


@pytest.mark.parametrize("relu", [keras.layers.ReLU(), keras.layers.ReLU(6.0), keras.layers.Activation("relu6")])
def test_a_closed_relu_lets_its_leak_through(relu):
    x = np.array([-3.0, -0.1, 0.2, 5.0, 7.0, 9.0, -1.0, 1.0]).reshape(1, 2, 2, 2)
    model, weights = softened(relu, leak=0.3, spread=0.5), RNG.normal(size=x.shape)
    np.testing.assert_array_equal(model(x), keras.Sequential([relu])(x))
    top = 6.0 if "6" in str(relu.get_config()) else np.inf
    np.testing.assert_allclose(slope(model, x, weights), np.where((x > 0) & (x < top), 1.0, 0.3) * weights, rtol=1e-6)


def test_a_max_pooling_shares_its_gradient_among_the_cells_of_a_window():
    x, weights = RNG.normal(size=(1, 4, 4, 2)), RNG.normal(size=(1, 2, 2, 2))
    model = softened(keras.layers.MaxPooling2D(2), leak=0.3, spread=0.4)
    largest = x.reshape(1, 2, 2, 2, 2, 2).max(axis=(2, 4))
    np.testing.assert_allclose(model(x), largest, rtol=1e-6)
    back = lambda a: np.repeat(np.repeat(a, 2, axis=1), 2, axis=2)
    expected = back(weights) * (0.4 / 4 + 0.6 * (x == back(largest)))
    np.testing.assert_allclose(slope(model, x, weights), expected, rtol=1e-6)


def test_softened_convolutions_give_the_same_also_in_bfloat16():
    convolution = keras.layers.Conv2D(3, 3, activation="relu", bias_initializer="random_normal")
    model = keras.Sequential([keras.Input((None, None, 2)), convolution, keras.layers.MaxPooling2D(2)])
    x = RNG.normal(size=(2, 9, 9, 2))
    for base in (model, graphs.rebuild(model, graphs.in_bfloat16)[0]):
        soft = graphs.rebuild(base, lambda layer: graphs.soften(layer, leak=0.3, spread=0.5))[0]
        np.testing.assert_array_equal(soft(x), base(x))
        assert soft(x).dtype == base(x).dtype
        assert np.abs(slope(soft, x, 1.0) - slope(base, x, 1.0)).max() > 0.01
