"""Every method against a closed form on a network small enough to compute by hand, and the contracts of all."""

import inspect

import numpy as np
import pytest

from vizlib import networks, saliency
from vizlib.backend import keras, tf
from vizlib.errors import InputError

layers = keras.layers
H, W = 8, 6
RNG = np.random.default_rng(0)
IMAGE = RNG.random((H, W, 3)).astype(np.float32)
CLASSES = ("ant", "bee", "cow")


def network_of(*parts, shape=(H, W, 3), classes=CLASSES, preprocessing="0-1", seed=0, **options):
    """A Network of a few layers with random weights; only what a test names is set by hand."""
    x = image = keras.Input(shape)
    for part in parts:
        x = part(x)
    model, rng = keras.Model(image, x), np.random.default_rng(seed)
    for layer in model.layers:
        # a batch norm's variances must be positive
        draw = rng.uniform if isinstance(layer, layers.BatchNormalization) else rng.normal
        layer.set_weights([draw(0.1, 0.5, w.shape) for w in layer.get_weights()])
    return networks.wrap(model, preprocessing=preprocessing, classes=classes, name="tiny", **options)


def linear(logits=3, **options):
    """S_c = Σ w_c · x + b_c, and w as (H, W, 3, logits)."""
    network = network_of(layers.Flatten(), layers.Dense(logits, name="dense"), **options)
    return network, network.model.get_layer("dense").get_weights()[0].reshape(H, W, 3, logits)


def quadratic(power=2, **options):
    """S_c = Σ w_c · x^power, and w."""
    network = network_of(lambda x: x**power, layers.Flatten(), layers.Dense(3, name="dense"), **options)
    return network, network.model.get_layer("dense").get_weights()[0].reshape(H, W, 3, 3)


def convolutional(ceiling=6.0):
    """Every kind of layer that matters; with this seed every class has a grad-CAM and ReLU6 is cut off above."""
    parts = (
        layers.Conv2D(4, 3, activation="relu"),
        layers.Conv2D(5, 3),
        layers.BatchNormalization(),
        layers.ReLU(ceiling),
    )
    top = layers.GlobalAveragePooling2D(), layers.Dense(3, name="dense")
    return network_of(*parts, *top, shape=(None, None, 3), size=8, seed=6)


def close(found, expected, tolerance=1e-5):
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=1e-4)


def sentence(function, *arguments, **options):
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message and message[-1] in ".?"
    return message


# ---------------------------------------------------------------- gradients


def test_gradient_of_a_linear_score_is_the_largest_absolute_weight_of_each_pixel():
    network, w = linear()
    close(saliency.gradient(network, IMAGE, "bee"), np.abs(w[..., 1]).max(axis=-1))


def test_gradient_is_with_respect_to_the_image_in_0_to_1():
    network, w = linear(preprocessing="caffe")  # 0–255, BGR
    close(saliency.gradient(network, IMAGE, 2), 255 * np.abs(w[..., 2]).max(axis=-1), 1e-2)
    signed = saliency.gradient_times_input(network, IMAGE, 2)
    close(signed, 255 * np.sum(w[:, :, ::-1, 2] * (IMAGE - np.float32(network.mean)), axis=-1), 1e-2)


def test_gradient_times_input_is_signed_and_counts_from_the_mean_colour():
    network, w = linear()
    close(saliency.gradient_times_input(network, IMAGE, 0), np.sum(w[..., 0] * IMAGE, axis=-1))
    assert saliency.gradient_times_input(network, IMAGE, 0).min() < 0


def test_gradient_agrees_with_finite_differences():
    network, h = convolutional(), 1e-2
    found = saliency.gradient(network, IMAGE, 1)
    for y, x in ((0, 0), (3, 2), (7, 5)):
        slopes = []
        for c in range(3):
            step = np.zeros_like(IMAGE)
            step[y, x, c] = h
            slopes.append(np.subtract(*saliency.scores(network, [IMAGE + step, IMAGE - step], 1)) / (2 * h))
        assert found[y, x] == pytest.approx(np.abs(slopes).max(), rel=0.03, abs=1e-4)


def test_ten_whole_crops_are_the_mean_of_the_map_and_its_reflections():
    network, w = linear()
    w = np.abs(w[..., 0]).max(axis=-1)
    close(saliency.ten_crop(network, IMAGE, 0, share=1), (w + w[:, ::-1]) / 2)


def test_ten_crops_are_put_back_where_they_were_taken():
    network = network_of(
        lambda x: x**2, layers.GlobalAveragePooling2D(), layers.Dense(3), shape=(None, None, 3), size=8
    )
    for place in ((1, 2), (14, 12), (8, 15)):
        dot = np.zeros((16, 18, 3), np.float32)
        dot[place] = 1
        found = saliency.ten_crop(network, dot, 0)
        assert np.unravel_index(found.argmax(), found.shape) == place
        # enlarging a crop by 8/7 spreads a pixel by one; nothing may lie further off, in the mirror's place
        found[max(place[0] - 2, 0) : place[0] + 3, max(place[1] - 2, 0) : place[1] + 3] = 0
        assert not found.any()


def test_smoothgrad_of_a_linear_score_is_its_gradient():
    network, _ = linear()
    close(saliency.smoothgrad(network, IMAGE, 0, samples=7), saliency.gradient(network, IMAGE, 0))


def test_smoothgrad_is_the_gradient_at_the_mean_of_its_noisy_copies_where_the_gradient_is_linear():
    network, w = quadratic()
    draws = tf.random.stateless_normal((5, H, W, 3), (5, 10)).numpy()  # of the second batch
    spread = 0.3 * (IMAGE.max() - IMAGE.min())
    shifted = IMAGE + spread * draws[1] / 13  # all draws before it come with both signs
    close(saliency.smoothgrad(network, IMAGE, 0, samples=13, noise=0.3, seed=5), slope(2 * w[..., 0] * shifted))
    close(saliency.smoothgrad(network, IMAGE, 0, samples=12, noise=0.3, seed=5), slope(2 * w[..., 0] * IMAGE))
    network, w = quadratic(preprocessing="tf")  # which adds something, once, to each copy: 2x − 1
    found = saliency.smoothgrad(network, IMAGE, 0, samples=13, noise=0.3, seed=5)
    close(found, slope(4 * w[..., 0] * (2 * shifted - 1)))


def slope(gradient):
    return np.abs(gradient).max(axis=-1)


def test_smoothgrad_follows_its_seed_and_its_noise():
    network, _ = quadratic()
    maps = [saliency.smoothgrad(network, IMAGE, 0, samples=3, seed=s) for s in (0, 0, 1)]  # odd: a draw is left over
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 1e-3
    close(saliency.smoothgrad(network, IMAGE, 0, samples=3, noise=0), saliency.gradient(network, IMAGE, 0))


@pytest.mark.parametrize("baseline", [None, 0.0, (0.1, 0.9, 0.4), IMAGE[::-1] ** 2])
@pytest.mark.parametrize("steps", [1, 4, 23])
def test_integrated_gradients_of_a_quadratic_are_exact_with_midpoints(baseline, steps):
    network, w = quadratic()
    start = np.float32(network.mean if baseline is None else baseline)
    found = saliency.integrated_gradients(network, IMAGE, 1, steps=steps, baseline=baseline)
    close(found, np.sum(w[..., 1] * (IMAGE**2 - start**2), axis=-1))
    assert saliency.completeness_gap(network, IMAGE, 1, found, baseline=baseline) < 1e-3


def test_completeness_gap_closes_with_the_square_of_the_steps():
    network, _ = quadratic(power=3)
    maps = [saliency.integrated_gradients(network, IMAGE, 0, steps=s) for s in (2, 4)]
    gaps = [saliency.completeness_gap(network, IMAGE, 0, m) for m in maps]
    assert gaps[0] == pytest.approx(4 * gaps[1], rel=0.02)
    # ∫₀¹ t² dt by two midpoints is 5/16 instead of 1/3
    assert gaps[0] == pytest.approx(1 - 15 / 16, rel=1e-2)


# ---------------------------------------------------------------- guided backpropagation


INSIDE = (layers.Conv2D(4, 1, activation="relu6", name="a"), layers.Conv2D(3, 1, activation="relu", name="b"))
AS_LAYERS = (layers.Conv2D(4, 1, name="a"), layers.ReLU(6.0), layers.Conv2D(3, 1, name="b"), layers.ReLU())
AS_ACTIVATIONS = (layers.Conv2D(4, 1, name="a"), layers.Activation("relu6"),
                  layers.Conv2D(3, 1, name="b"), layers.Activation("relu"))  # fmt: skip
AS_FUNCTIONS = (layers.Conv2D(4, 1, name="a"), keras.ops.relu6, layers.Conv2D(3, 1, name="b"), keras.ops.relu)
AS_TENSORFLOW = (layers.Conv2D(4, 1, activation=tf.nn.relu6, name="a"), layers.Conv2D(3, 1, name="b"), layers.ReLU())


@pytest.mark.parametrize("parts", [INSIDE, AS_LAYERS, AS_ACTIVATIONS, AS_FUNCTIONS, AS_TENSORFLOW])
def test_guided_backprop_of_two_relus_is_computed_by_hand(parts):
    network = network_of(*parts, layers.GlobalAveragePooling2D(), layers.Dense(3, name="dense"))
    (ka, ba), (kb, bb), (kd, _) = (network.model.get_layer(name).get_weights() for name in ("a", "b", "dense"))
    ka, ba = 12 * ka, 3 - 12 * (IMAGE @ ka[0, 0]).mean(axis=(0, 1))  # so that ReLU6 is cut off at both ends
    network.model.get_layer("a").set_weights([ka, ba])
    u = IMAGE @ ka[0, 0] + ba
    v = np.clip(u, 0, 6) @ kb[0, 0] + bb
    assert (u > 6).any() and (u < 0).any() and (v < 0).any() and (v > 0).any() and (kd < 0).any()
    gv = np.maximum(kd[:, 0] / (H * W), 0) * (v > 0)
    gu = np.maximum(gv @ kb[0, 0].T, 0) * ((u > 0) & (u < 6))
    close(saliency.guided_backprop(network, IMAGE, 0), np.abs(gu @ ka[0, 0].T).max(axis=-1))
    plain = (((kd[:, 0] / (H * W)) * (v > 0)) @ kb[0, 0].T * ((u > 0) & (u < 6))) @ ka[0, 0].T
    close(saliency.gradient(network, IMAGE, 0), np.abs(plain).max(axis=-1))  # and the network itself is untouched


def test_guided_backprop_sees_weights_that_were_trained_after_its_first_call():
    network = network_of(*INSIDE, layers.GlobalAveragePooling2D(), layers.Dense(3))
    before = saliency.guided_backprop(network, IMAGE, 0)
    network.model.set_weights([2 * w for w in network.model.get_weights()])
    assert np.abs(saliency.guided_backprop(network, IMAGE, 0) - before).max() > 1e-4


def test_leaky_relu_is_not_guided_and_a_network_without_relu_is_refused():
    parts = layers.ReLU(negative_slope=0.1), layers.Activation("tanh"), layers.Flatten(), layers.Dense(3)
    assert "use gradient" in sentence(saliency.guided_backprop, network_of(*parts), IMAGE, 0)


# ---------------------------------------------------------------- maps of grids and patches


def test_grad_cam_on_a_pooled_grid_is_its_closed_form():
    parts = layers.Conv2D(5, 3, padding="same", name="grid"), layers.GlobalAveragePooling2D(), layers.Dense(3, name="d")
    network = network_of(*parts)
    grid, w = network.features("grid")(IMAGE[None]).numpy()[0], network.model.get_layer("d").get_weights()[0]
    cams = grid @ w / (H * W)
    (mixed,) = [c for c in range(3) if (cams[..., c] > 0).any() and (cams[..., c] < 0).any()][:1]
    close(saliency.grad_cam(network, IMAGE, mixed), np.maximum(cams[..., mixed], 0))


def test_grad_cam_of_a_coarse_inner_layer_is_enlarged_bilinearly_and_its_weights_are_means():
    parts = layers.Conv2D(5, 2, strides=2, name="grid"), lambda x: x**2, layers.Flatten(), layers.Dense(3, name="d")
    network = network_of(*parts)
    grid, w = network.features("grid")(IMAGE[None]).numpy()[0], network.model.get_layer("d").get_weights()[0]
    alpha = (2 * grid * w[:, 0].reshape(4, 3, 5)).mean(axis=(0, 1))
    small = np.maximum(grid @ alpha, 0).astype(np.float32)
    expected = tf.image.resize(small[..., None], (H, W))[..., 0].numpy()
    close(saliency.grad_cam(network, IMAGE, 0, layer="grid"), expected)


def test_grad_cam_reaches_into_nested_models():
    inner = keras.Sequential([keras.Input((H, W, 3)), layers.Conv2D(4, 3, name="deep"), layers.ReLU()], name="inner")
    network = network_of(inner, layers.GlobalAveragePooling2D(), layers.Dense(3))
    assert saliency.grad_cam(network, IMAGE, 0, layer="deep").shape == (H, W)
    assert "deep" in sentence(saliency.grad_cam, network, IMAGE, 0, layer="depe")


@pytest.mark.parametrize("patch", [1, 2])
def test_occlusion_of_a_linear_score_is_what_its_patches_contribute(patch):
    network, w = linear(preprocessing="tf")  # mean colour 0.5, values in −1 … 1
    each = np.sum(2 * w[..., 1] * (IMAGE - 0.5), axis=-1)
    sums = each.reshape(H // patch, patch, W // patch, patch).sum(axis=(1, 3))
    close(
        saliency.occlusion(network, IMAGE, 1, patch=patch, stride=patch), np.kron(sums, np.ones((patch, patch))), 1e-4
    )


def test_occlusion_averages_patches_that_overlap_and_reaches_the_borders():
    network, w = linear()
    each, expected, count = np.sum(w[..., 0] * IMAGE, axis=-1), np.zeros((H, W)), np.zeros((H, W))
    for y in (0, 2, 4, 5):  # 3 px every 2 px; the last patch moves to the border
        for x in (0, 2, 3):
            expected[y : y + 3, x : x + 3] += each[y : y + 3, x : x + 3].sum()
            count[y : y + 3, x : x + 3] += 1
    close(saliency.occlusion(network, IMAGE, 0, patch=3, stride=2), expected / count, 1e-4)


def test_a_patch_larger_than_the_image_covers_it_all():
    network, w = linear()
    found = saliency.occlusion(network, IMAGE, 0, patch=99)
    close(found, np.full((H, W), np.sum(w[..., 0] * IMAGE)), 1e-4)


# ---------------------------------------------------------------- contracts of all methods


@pytest.mark.parametrize("method", saliency.METHODS)
def test_every_method_gives_a_raw_float32_map_of_the_image(method):
    network = convolutional()
    for image in (IMAGE, RNG.random((11, 9, 3))):
        found = saliency.compute(method, network, image, "bee")
        assert found.shape == image.shape[:2] and found.dtype == np.float32


@pytest.mark.parametrize("method", saliency.METHODS)
def test_every_method_keeps_one_signature_with_keyword_options(method):
    first, *options = list(inspect.signature(saliency.METHODS[method]).parameters.values())[2:]
    assert first.name == "class_" and all(o.kind is o.KEYWORD_ONLY and o.default is not o.empty for o in options)


@pytest.mark.parametrize("method", [m for m in saliency.METHODS if m != "guided_backprop"])
def test_maps_grow_with_the_score(method):
    """Twice the score, twice the map: nothing is rescaled."""
    network = convolutional()
    before = saliency.compute(method, network, IMAGE, 0)
    dense = network.model.get_layer("dense")
    dense.set_weights([2 * w for w in dense.get_weights()])
    close(saliency.compute(method, network, IMAGE, 0), 2 * before)


@pytest.mark.parametrize("method", ["gradient_times_input", "integrated_gradients", "occlusion"])
def test_one_logit_has_two_classes_of_opposite_sign(method):
    network, _ = linear(logits=1, classes=("cat", "dog"))
    cat, dog = (saliency.compute(method, network, IMAGE, c) for c in ("cat", "dog"))
    close(cat, -dog)
    assert saliency.scores(network, [IMAGE], "dog") == network.logits(IMAGE)


def test_one_logit_has_one_gradient_map_and_two_probabilities():
    network, _ = linear(logits=1, classes=("cat", "dog"))
    close(*(saliency.gradient(network, IMAGE, c) for c in ("cat", "dog")))
    both = [saliency.probabilities(network, [IMAGE, IMAGE / 2], c) for c in ("cat", "dog")]
    np.testing.assert_allclose(np.sum(both, axis=0), 1)
    np.testing.assert_allclose(both[1][0], 1 / (1 + np.exp(-network.logits(IMAGE)[0])), rtol=1e-5)


def test_probabilities_are_a_softmax_and_agree_with_the_network():
    network = convolutional()
    found = [saliency.probabilities(network, IMAGE[None], c)[0] for c in CLASSES]
    assert sum(found) == pytest.approx(1)
    assert dict(network.top(IMAGE, k=3)) == pytest.approx(dict(zip(CLASSES, found, strict=True)), rel=1e-5)


def test_scores_take_any_number_of_images():
    network = convolutional()
    pictures = RNG.random((23, H, W, 3)).astype(np.float32)
    one_by_one = [saliency.scores(network, p[None], 1)[0] for p in pictures]
    np.testing.assert_allclose(saliency.scores(network, pictures, 1), one_by_one, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(saliency.scores(network, iter(pictures), 1), one_by_one, rtol=1e-4, atol=1e-5)


def test_nothing_is_traced_again_when_the_number_of_samples_changes():
    network = convolutional()
    saliency.gradient(network, IMAGE, 0)
    for samples in (2, 5, 10, 25, 40):
        saliency.smoothgrad(network, IMAGE, samples % 3, samples=samples)
        saliency.integrated_gradients(network, IMAGE, 0, steps=samples)
        saliency.occlusion(network, IMAGE, 0, patch=2, stride=1 + samples % 3)
    # start: of one image, of a line's two ends, of a full batch; on: of one and of a full batch; back; logits
    assert [f.experimental_get_tracing_count() for f in saliency._parts(network)] == [3, 2, 1, 1]


def test_an_unknown_method_or_class_is_one_sentence():
    network = convolutional()
    assert "smoothgrad" in sentence(saliency.compute, "smothgrad", network, IMAGE, 0)
    assert "bee" in sentence(saliency.gradient, network, IMAGE, "be e")
    assert "3" in sentence(saliency.gradient, network, IMAGE, 3)


@pytest.mark.parametrize("method", saliency.METHODS)
def test_a_map_that_is_zero_everywhere_is_one_sentence(method):
    network = convolutional()
    network.model.get_layer("dense").set_weights([np.zeros((5, 3)), np.ones(3)])
    assert "zero everywhere" in sentence(saliency.compute, method, network, IMAGE, "ant")


def test_a_map_that_is_not_finite_is_one_sentence():
    network, _ = linear()
    network.model.get_layer("dense").set_weights([np.full((H * W * 3, 3), np.nan), np.ones(3)])
    assert "not finite" in sentence(saliency.gradient, network, IMAGE, "ant")


def test_an_image_out_of_contract_or_of_a_wrong_size_is_one_sentence():
    network, _ = linear()
    assert "divide by 255" in sentence(saliency.gradient, network, IMAGE * 255, 0)
    assert "(8, 6)" in sentence(saliency.gradient, network, IMAGE[:5], 0)


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": 2.5}])
def test_impossible_numbers_are_one_sentence(options):
    assert "samples" in sentence(saliency.smoothgrad, convolutional(), IMAGE, 0, **options)


# ---------------------------------------------------------------- randomisation


def test_randomised_layers_keep_their_values_and_lose_their_places():
    network = convolutional()
    before = [w.copy() for w in network.model.get_weights()]
    other = saliency.randomised(network, 1)
    for name in ("conv", "dense"):
        pairs = [(a, b) for a, b, v in zip(before, other.model.get_weights(), other.model.weights, strict=True)
                 if name in v.path]  # fmt: skip
        assert pairs
        for a, b in pairs:
            np.testing.assert_array_equal(np.sort(a, axis=None), np.sort(b, axis=None))
            assert (a.size > 4 and name == "dense") != np.array_equal(a, b) or a.size <= 5
    for a, b in zip(before, network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(other.logits(IMAGE) - network.logits(IMAGE)).max() > 1e-3


def test_randomisation_cascades_from_the_top():
    network = convolutional()
    grids = [name for name, tensor in network.outputs.items() if len(tensor.shape) == 4]
    weighted = 4  # two convolutions, a batch norm, a dense layer
    for count in range(1, weighted + 1):
        other = saliency.randomised(network, count)
        unchanged = [np.allclose(other.features(g)(IMAGE[None]), network.features(g)(IMAGE[None])) for g in grids]
        assert unchanged == sorted(unchanged, reverse=True)
        assert sum(unchanged) == {1: 4, 2: 2, 3: 1, 4: 0}[count]
    top = [saliency.randomised(network, n).model.get_layer("dense").get_weights()[0] for n in (1, 4)]
    np.testing.assert_array_equal(*top)


@pytest.mark.parametrize("method", saliency.METHODS)
def test_maps_of_a_randomised_network_follow_its_weights(method):
    networks = convolutional(), saliency.randomised(convolutional(), 4, seed=2)
    assert np.ptp([saliency.compute(method, n, IMAGE, "bee") for n in networks], axis=0).max() > 1e-3


# ---------------------------------------------------------------- agreement with others, where they are installed


def peers_network():
    """An image as large as its last grid, so that how a map is enlarged plays no part, and ReLUs without a ceiling:
    xplique's guided backpropagation lets gradients pass above 6."""
    shared = layers.Conv2D(4, 3, padding="same", activation="relu"), layers.Conv2D(5, 3, padding="same", name="grid")
    return network_of(*shared, layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(3), seed=6)


def xplique_map(peer, network, **options):
    """Its map of class 1, with a channel axis where it keeps one."""
    attributions = pytest.importorskip("xplique.attributions", reason="xplique is not installed (extra: peers)")
    explainer = getattr(attributions, peer)(network.model, batch_size=None, **options)
    return np.asarray(explainer(IMAGE[None], np.eye(3, dtype=np.float32)[[1]]))[0]


@pytest.mark.parametrize("method, peer", [("gradient", "Saliency"), ("guided_backprop", "GuidedBackprop")])
def test_largest_gradients_agree_with_xplique(method, peer):
    expected = np.abs(xplique_map(peer, network := peers_network(), reducer=None)).max(axis=-1)
    close(saliency.compute(method, network, IMAGE, 1), expected)


def test_gradient_times_input_agrees_with_xplique():
    network = peers_network()
    assert not np.any(network.mean)  # xplique counts from black
    expected = xplique_map("GradientInput", network, reducer="sum")[..., 0]
    close(saliency.gradient_times_input(network, IMAGE, 1), expected)


def test_integrated_gradients_agree_with_xplique():
    """It takes the trapezoidal rule on `steps` points, ends included: half the sum of the left and the right rule."""
    network, steps, colour = peers_network(), 400, 0.25
    options = {"steps": steps, "baseline_value": colour, "reducer": "sum"}
    expected = xplique_map("IntegratedGradients", network, **options)[..., 0]
    # both rules err by the square of a step where the gradient is smooth, and by a step where a ReLU switches
    tolerance = np.abs(expected).max() / steps
    close(saliency.integrated_gradients(network, IMAGE, 1, steps=steps, baseline=[colour] * 3), expected, tolerance)


def test_grad_cam_agrees_with_xplique():
    network = peers_network()
    expected = xplique_map("GradCAM", network, conv_layer="grid")[..., 0]
    assert expected.any() and not expected.all()
    close(saliency.grad_cam(network, IMAGE, 1, layer="grid"), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_occlusion_agrees_with_xplique(stride):
    """It adds up the patches that cover a pixel; ours is their mean."""
    network, patch = peers_network(), 2
    total = xplique_map("Occlusion", network, patch_size=patch, patch_stride=stride)[..., 0]
    covered = [np.minimum(np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)), patch) for n in (H, W)]
    count = np.outer(*covered) if stride == 1 else 1
    close(saliency.occlusion(network, IMAGE, 1, patch=patch, stride=stride), np.float32(total / count))


def test_gradient_agrees_with_tf_keras_vis():
    peer = pytest.importorskip("tf_keras_vis.saliency", reason="tf-keras-vis is not installed (extra: peers)")
    network = convolutional()
    explain, score = peer.Saliency(network.model), lambda logits: logits[:, 1]
    expected = explain(score, IMAGE[None], keepdims=True, normalize_map=False)
    close(saliency.gradient(network, IMAGE, 1), np.abs(np.asarray(expected))[0].max(axis=-1))


def test_a_head_that_keeps_its_grid_mixes_no_images():
    head = layers.Conv2D(4, 3), layers.ReLU(), layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(3, 1)
    network = network_of(*head)
    close(saliency.smoothgrad(network, IMAGE, 0, samples=10, noise=0), saliency.gradient(network, IMAGE, 0))


def test_a_seed_may_be_large_and_is_checked():
    network = convolutional()
    one, other = (saliency.smoothgrad(network, IMAGE, 0, samples=3, seed=s) for s in (2**40, 2**64 + 1))
    assert np.abs(one - other).max() > 0
    assert "seed" in sentence(saliency.smoothgrad, network, IMAGE, 0, seed=-1)
