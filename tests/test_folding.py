"""Folding changes no function: whatever stands around a batch norm, outputs and gradients stay the same."""

import numpy as np
import pytest

from vizlib import graphs, networks
from vizlib.backend import keras, tf

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.random((2, 12, 11, 3)).astype(np.float32)


def random_weights(model):
    for layer in model.layers:
        # all positive, since variances must be
        layer.set_weights([RNG.uniform(0.2, 1.2, w.shape) for w in layer.get_weights()])
    return model


def chain(*parts):
    x = image = keras.Input((None, None, 3))
    for part in parts:
        x = part(x)
    return random_weights(keras.Model(image, x))


def norms(model):
    return sum(isinstance(layer, layers.BatchNormalization) for layer in model.layers)


def agrees(model, *, left):
    folded = graphs.fold(model)
    assert norms(folded) == left
    expected, found = model(IMAGES, training=False), folded(IMAGES, training=False)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    np.testing.assert_allclose(*(gradient(m) for m in (folded, model)), rtol=2e-5, atol=1e-5)
    return folded


def gradient(model):
    batch = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(batch)
        score = tf.reduce_sum(model(batch, training=False) ** 2)
    return tape.gradient(score, batch)


@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False}, {"epsilon": 0.5}])
@pytest.mark.parametrize("bias", [True, False])
def test_norm_behind_a_convolution(options, bias):
    agrees(chain(layers.Conv2D(5, 3, use_bias=bias), layers.BatchNormalization(**options)), left=0)


@pytest.mark.parametrize("place", [{"strides": 2, "padding": "same"}, {"dilation_rate": 2}, {"depth_multiplier": 2}])
def test_norm_behind_a_depthwise_convolution(place):
    agrees(chain(layers.DepthwiseConv2D(3, **place), layers.BatchNormalization(), layers.ReLU(6.0)), left=0)


@pytest.mark.parametrize("place", [{"strides": (2, 1), "padding": "same"}, {"dilation_rate": 2}])
def test_strides_padding_and_dilation_of_a_convolution(place):
    agrees(chain(layers.Conv2D(4, 3, **place), layers.BatchNormalization()), left=0)


def test_norms_elsewhere_are_left():
    bn = layers.BatchNormalization
    agrees(chain(bn(), layers.Conv2D(4, 3, activation="relu"), bn(), layers.MaxPooling2D(), bn()), left=3)
    agrees(chain(layers.Conv2D(4, 3), bn(), bn()), left=1)


def test_a_convolution_with_another_use_keeps_it():
    image = keras.Input((None, None, 3))
    y = layers.Conv2D(4, 3)(image)
    model = random_weights(keras.Model(image, layers.Add()([y, layers.BatchNormalization()(y)])))
    agrees(model, left=0)


def test_a_convolution_that_is_shared():
    image, convolution = keras.Input((None, None, 3)), layers.Conv2D(3, 3, padding="same")
    x = layers.BatchNormalization()(convolution(image))
    agrees(random_weights(keras.Model(image, layers.BatchNormalization()(convolution(x)))), left=0)


def test_folded_models_follow_the_training_of_their_original():
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization())
    folded = agrees(model, left=0)
    before = folded(IMAGES, training=False).numpy()
    random_weights(model)
    after = folded(IMAGES, training=False).numpy()
    np.testing.assert_allclose(after, model(IMAGES, training=False), rtol=2e-5)
    assert np.abs(after - before).max() > 0.1


def test_the_original_is_left_as_it_was():
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization())
    names, before = [layer.name for layer in model.layers], model(IMAGES, training=False).numpy()
    graphs.fold(model)
    assert [layer.name for layer in model.layers] == names
    np.testing.assert_array_equal(model(IMAGES, training=False), before)


def test_what_computes_in_bfloat16_is_left_alone():
    for convolution, norm in (("mixed_bfloat16",) * 2, ("float32", "mixed_bfloat16"), ("mixed_bfloat16", "float32")):
        model = chain(layers.Conv2D(3, 1, dtype=convolution), layers.BatchNormalization(dtype=norm))
        assert norms(graphs.fold(model)) == 1


def test_a_norm_that_serves_twice():
    image, norm = keras.Input((None, None, 3)), layers.BatchNormalization()
    x = norm(layers.Conv2D(3, 3, padding="same")(image))
    agrees(random_weights(keras.Model(image, norm(layers.Conv2D(3, 1)(x)))), left=0)


def test_a_run_on_disk_is_known_again_by_what_was_folded():
    model = chain(layers.Conv2D(4, 3, name="c"), layers.BatchNormalization(name="n"))
    one, two = (graphs.fold(model).layers for _ in range(2))
    assert one[-1].name != two[-1].name  # so a name must not count
    assert [layer.get_config() for layer in one] == [layer.get_config() for layer in two]
    mine = [w.tobytes() for w in graphs.fold(model).get_weights()]
    assert sorted(mine) == sorted(w.tobytes() for w in model.get_weights())


def straight(*parts):
    return graphs.split(graphs.fold(chain(*parts)))


def test_the_affine_start_ends_before_the_first_bend():
    bend = layers.ReLU(), layers.Conv2D(2, 1)
    start, rest = straight(layers.Conv2D(4, 3, strides=2), layers.BatchNormalization(), *bend)
    assert start.output.shape[-1] == 4 and [type(layer).__name__ for layer in rest.layers[1:]] == ["ReLU", "Conv2D"]
    a, b = start(IMAGES), start(IMAGES[::-1])
    np.testing.assert_allclose(start((IMAGES + IMAGES[::-1]) / 2), (a + b) / 2, rtol=1e-5)


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_start_and_rest_are_the_whole_model(activation):
    model = chain(
        layers.Conv2D(3, 1), layers.ZeroPadding2D(1), layers.Conv2D(4, 3, activation=activation), layers.ReLU()
    )
    start, rest = graphs.split(model)
    assert start.output.shape[-1] == (4 if activation == "linear" else 3)
    np.testing.assert_allclose(rest(start(IMAGES)), model(IMAGES), rtol=1e-5)


def test_what_goes_round_a_layer_keeps_it_out_of_the_start():
    image = keras.Input((None, None, 3))
    first = layers.Conv2D(3, 1)(image)
    second = layers.Conv2D(3, 3, padding="same")(first)
    model = random_weights(keras.Model(image, layers.ReLU()(second) + first))
    start, rest = graphs.split(model)
    assert [layer.name for layer in start.layers] == [layer.name for layer in model.layers[:2]]
    np.testing.assert_allclose(rest(start(IMAGES)), model(IMAGES), rtol=1e-5)


@pytest.mark.parametrize("size", [(12, 12), (12, 11), (13, 16)])
@pytest.mark.parametrize("padding", [((0, 1), (0, 1)), ((1, 1), (0, 1)), ((1, 0), (1, 0))])
@pytest.mark.parametrize("convolution", [lambda: layers.Conv2D(4, 3, 2), lambda: layers.DepthwiseConv2D(3, 2)])
def test_paddings_before_folded_convolutions_stay_what_they_were(size, padding, convolution):
    image = keras.Input((*size, 3))
    padded = layers.ZeroPadding2D(padding)(layers.Conv2D(3, 1)(image))
    model = random_weights(keras.Model(image, layers.BatchNormalization()(convolution()(padded))))
    folded, pictures = graphs.fold(model), RNG.random((2, *size, 3)).astype(np.float32)
    np.testing.assert_allclose(folded(pictures), model(pictures, training=False), rtol=2e-5)
    alike = (size, padding) in {((12, 12), ((0, 1), (0, 1))), ((13, 16), ((1, 1), (0, 1)))}
    assert any(isinstance(layer, layers.ZeroPadding2D) for layer in folded.layers) != alike


def test_layers_called_by_keywords():
    image = keras.Input((None, None, 3))
    y = layers.BatchNormalization()(inputs=layers.Conv2D(4, 3)(inputs=image))
    agrees(random_weights(keras.Model(image, layers.Add()([y, y]))), left=0)


def test_what_new_layers_compute_in_changes_no_fold():
    model = chain(layers.Conv2D(4, 3), layers.BatchNormalization())
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        folded = graphs.fold(model)
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(folded(IMAGES), model(IMAGES, training=False), rtol=2e-5)


def test_channels_first_is_left():
    image = keras.Input((12, 11, 3))
    y = layers.Conv2D(11, 1, data_format="channels_first")(layers.Permute((3, 1, 2))(image))
    folded = graphs.fold(keras.Model(image, layers.BatchNormalization(axis=3)(y)))
    assert norms(folded) == 1 and not any(isinstance(layer, graphs.Joined) for layer in folded.layers)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2_cats_vs_dogs"])
def test_shipped_networks_are_cut_behind_their_first_convolution(name):
    start, _ = graphs.split(networks.load(name).classifier())
    assert [type(layer).__name__ for layer in start.layers] == ["InputLayer", "Conv2D", "Conv2D"]


def test_a_layer_used_twice_takes_no_bend_into_the_start():
    image, convolution = keras.Input((None, None, 3)), layers.Conv2D(3, 3, padding="same")
    model = random_weights(keras.Model(image, layers.ReLU()(convolution(layers.ReLU()(convolution(image) - 10.0)))))
    start, rest = graphs.split(graphs.fold(model))
    halves = (start(IMAGES) + start(IMAGES[::-1])) / 2
    np.testing.assert_allclose(start((IMAGES + IMAGES[::-1]) / 2), halves, rtol=1e-5)
    np.testing.assert_allclose(rest(start(IMAGES)), model(IMAGES), rtol=1e-5)
