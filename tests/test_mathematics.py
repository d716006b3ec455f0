"""Closed forms and finite differences for every term, canvas and step rule; each recipe's constants from its paper."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from vizlib import canvas, objectives, recipes
from vizlib.optimise import ForgetfulAdagrad

RNG = np.random.default_rng(0)
PICTURES = RNG.random((2, 6, 5, 3)).astype(np.float32)
FEATURES = RNG.normal(size=(2, 3, 3, 4)).astype(np.float32)
TARGET = RNG.normal(size=(1, 3, 3, 4)).astype(np.float32)
MEAN = (0.4, 0.5, 0.3)
X = 255 * (PICTURES.astype(float) - MEAN)


SKEWED = np.array([[0.5, 0.3, 0.0], [0.5, 0.0, -0.1], [0.5, -0.3, 0.2]])


def total_variation(image, beta, unit):
    """The paper's sum, pixel by pixel, over the number of pixels."""
    x, energy = 255 * image.astype(float) / unit, 0.0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            down = x[min(i + 1, x.shape[0] - 1), j] - x[i, j]
            right = x[i, min(j + 1, x.shape[1] - 1)] - x[i, j]
            energy += np.sum((down**2 + right**2) ** (beta / 2))
    return energy / (x.shape[0] * x.shape[1])


CLOSED_FORMS = {
    "l2": (objectives.l2(mean=MEAN), [np.mean(x**2) for x in X]),
    "alpha": (objectives.alpha_norm(alpha=6, unit=90, mean=MEAN), [np.sum(np.abs(x / 90) ** 6) for x in X]),
    "colour": (
        objectives.colour_norm(alpha=6, unit=80, mean=MEAN),
        [np.mean((np.linalg.norm(x, axis=-1) / 80) ** 6) for x in X],
    ),
    "grey world": (
        objectives.grey_world(unit=40, mean=MEAN),
        [np.sum((x.reshape(-1, 3).mean(axis=0) / 40) ** 2) for x in X],
    ),
    "tv2": (objectives.total_variation(beta=2, unit=12), [total_variation(p, 2, 12) for p in PICTURES]),
    "tv1": (objectives.total_variation(beta=1, unit=12), [total_variation(p, 1, 12) for p in PICTURES]),
    "tv in other colours": (
        objectives.total_variation(beta=1, unit=12, colours=SKEWED),
        [total_variation(np.linalg.solve(SKEWED, p[..., None])[..., 0], 1, 12) for p in PICTURES],
    ),
    "match": (objectives.match(TARGET), [np.sum((f - TARGET[0]) ** 2) / np.sum(TARGET**2) for f in FEATURES]),
    "caricature": (
        objectives.caricature(TARGET),
        [-np.sum(f * np.maximum(TARGET[0], 0)) / np.sum(TARGET**2) for f in FEATURES],
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name):
    objective, expected = CLOSED_FORMS[name]
    np.testing.assert_allclose(objective.values(PICTURES, FEATURES)[0], expected, rtol=2e-3 if name == "tv1" else 1e-4)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_gradient_against_finite_differences(name):
    objective, _ = CLOSED_FORMS[name]
    on_features = name in ("match", "caricature")
    point = tf.constant(FEATURES if on_features else PICTURES)

    def value(x):
        pair = (tf.constant(PICTURES), x) if on_features else (x, tf.constant(FEATURES))
        return tf.reduce_sum(objective.values(*pair))

    with tf.GradientTape() as tape:
        tape.watch(point)
        total = value(point)
    gradient = tape.gradient(total, point).numpy()
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=point.shape).astype(np.float32)
        step = 1e-2 / np.linalg.norm(direction)
        slope = (value(point + step * direction) - value(point - step * direction)) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=2e-2, atol=2e-2 * np.abs(gradient).max())


def test_a_class_score_is_minimised_as_its_negative_and_one_logit_has_two_signs():
    logits = tf.constant([[3.0, -1.0], [0.5, 2.0]])
    score = objectives.class_score(np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(score.values(PICTURES, logits)[0], [-3.0, -2.0])
    np.testing.assert_allclose(
        objectives.class_score([[-1.0]]).values(PICTURES, tf.constant([[4.0], [1.0]]))[0], [4, 1]
    )


def test_flat_images_have_no_total_variation_and_a_finite_gradient():
    flat = tf.fill((1, 4, 4, 3), 0.3)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        energy = objectives.total_variation(beta=1).values(flat, None)[0, 0]
    assert float(energy) == 0 and np.all(np.isfinite(tape.gradient(energy, flat)))


def test_strength_scales_priors_only_and_sums_compose():
    objective = objectives.match(TARGET) + 2.0 * objectives.l2(mean=MEAN)
    assert objective.names == ("feature error", "L2")
    np.testing.assert_allclose(objective.weights(strength=3.0), [1.0, 6.0])
    plain, strong = (objective.values(PICTURES, FEATURES, weights=objective.weights(strength=k)) for k in (1, 3))
    np.testing.assert_allclose(strong[1], 3 * plain[1], rtol=1e-6)
    np.testing.assert_allclose(strong[0], plain[0])


def test_a_masked_match_sees_its_part_only():
    mask = np.zeros((1, 3, 3, 1), np.float32)
    mask[:, 1, 1] = 1
    changed = FEATURES.copy()
    changed[:, 0] += 100
    values = [objectives.match(TARGET, mask=mask).values(PICTURES, f)[0] for f in (FEATURES, changed)]
    np.testing.assert_array_equal(*values)
    with pytest.raises(ValueError, match="nothing to invert"):
        objectives.match(np.zeros((1, 2, 2, 1)))


# --- canvases and views -----------------------------------------------------------------------------------------

CANVASES = [canvas.Pixels(MEAN, spread=9.0), canvas.Fourier(), canvas.Fourier(decay=1.2), canvas.Pyramid(mean=MEAN)]


@pytest.mark.parametrize("each", CANVASES, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("size", [8, 9, 50])
def test_encoding_an_image_and_decoding_it_gives_the_image(each, size):
    pictures = np.random.default_rng(size).uniform(0.05, 0.95, (2, size, size, 3)).astype(np.float32)
    decoded = each.image([tf.constant(p) for p in each.encode(pictures)])
    np.testing.assert_allclose(decoded, pictures, atol=2e-3)


@pytest.mark.parametrize("each", CANVASES, ids=lambda c: type(c).__name__)
def test_starts_depend_on_the_seed_alone(each):
    for together, alone in zip(each.start([3, 4], 20), each.start([4], 20), strict=True):
        np.testing.assert_array_equal(together[1], alone[0])
        assert not np.array_equal(together[0], together[1]) and together.dtype == np.float32


def test_a_pyramid_starts_as_white_noise_of_its_spread():
    each = canvas.Pyramid(mean=MEAN, spread=0.2)
    image = each.image([tf.constant(p) for p in each.start([0, 7], 25)])
    noise = np.einsum("bhwc,dc->bhwd", canvas._noise([0, 7], (25, 25, 3)), canvas.COLOUR)
    np.testing.assert_allclose(image, MEAN + 0.2 / 4 * noise, atol=1e-6)


def test_a_pyramid_keeps_what_is_coarse_on_its_coarse_levels():
    each = canvas.Pyramid(mean=MEAN)
    *finer, coarsest = each.encode(np.full((1, 50, 50, 3), 0.7, np.float32))
    assert max(np.abs(level).max() for level in finer) < 1e-5 < 0.1 < np.abs(coarsest).min(axis=(1, 2)).max()
    picture = np.random.default_rng(1).uniform(0.05, 0.95, (1, 50, 50, 3)).astype(np.float32)
    np.testing.assert_allclose(each.image([tf.constant(p) for p in each.encode(picture)]), picture, atol=1e-5)


def test_a_fourier_coefficient_moves_its_own_wave_by_its_amplitude():
    spectrum = np.zeros((1, 3, 8, 5, 2), np.float32)
    spectrum[0, 0, 0, 2, 0] = 1.0
    picture = special.logit(canvas.Fourier().image([tf.constant(spectrum)])[0])
    wave = 2 / 64 * (8 / (2 / 8)) * np.cos(2 * np.pi * 2 * np.arange(8) / 8)
    expected = wave[None, :, None] * canvas.COLOUR[:, 0]
    np.testing.assert_allclose(picture, np.broadcast_to(expected, (8, 8, 3)), atol=1e-5)


def test_the_published_colour_matrix_has_a_largest_column_of_length_one():
    assert np.isclose(np.linalg.norm(canvas.COLOUR, axis=0).max(), 1)
    np.testing.assert_allclose(canvas.COLOUR[0] / canvas.COLOUR[0, 0], np.array([0.26, 0.09, 0.02]) / 0.26, rtol=1e-6)


@pytest.mark.parametrize("size", [16, 33, 224])
def test_on_the_phase_canvas_every_image_has_the_magnitudes_of_photographs(size, monkeypatch):
    each = canvas.Phase(mean=MEAN)
    monkeypatch.setattr(tf, "clip_by_value", lambda x, low, high: x)
    for phase in (*each.start([0, 1], size), np.zeros((1, 3, size, size // 2 + 1), np.float32)):
        image = each.image([tf.constant(phase)]).numpy()
        np.testing.assert_allclose(image.mean((1, 2)), np.tile(MEAN, (len(phase), 1)), atol=1e-5)
        (spectrum,) = canvas.Fourier()._spectrum(4 * (image.astype(float) - MEAN))
        inner = np.s_[:, :, :, 1 : (size - 1) // 2]  # of its border columns a real image keeps a half only
        found = np.hypot(spectrum[..., 0], spectrum[..., 1])[inner]
        expected = canvas._photographs(size)[None][inner]
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=0.01, atol=1e-4)
        turned = each.encode(image)[0][inner] - phase[inner]
        assert np.abs(np.exp(1j * turned) - 1).max() < 0.02


def test_the_spectrum_is_that_of_photographs():
    spectrum = canvas._photographs(224)
    assert (spectrum[:, 0, 0] == 0).all() and spectrum.min() >= 0
    assert (spectrum[0] >= spectrum[1:].min(axis=0)).mean() > 0.9, "light varies more than colour"
    # 1/f, the canvas' own scale, explains nearly all: over four octaves of frequency the rest falls by less than ten
    diagonal = spectrum[0, np.arange(2, 65), np.arange(2, 65)]
    assert diagonal.min() > 0.08 and diagonal.max() < 0.35
    # another size sees the same frequencies, not the same places
    np.testing.assert_allclose(canvas._photographs(112)[:, 1:50, 1:50], spectrum[:, 2:100:2, 2:100:2], rtol=0.01)


def test_projection_bounds_every_pixels_colour_and_leaves_the_rest():
    bounded = canvas.Pixels(MEAN, bound=100.0)
    pixels = tf.constant([[[[300.0, 0, 0], [10.0, 20.0, 30.0]]]])
    np.testing.assert_allclose(bounded.project([pixels])[0], [[[[100.0, 0, 0], [10.0, 20.0, 30.0]]]], rtol=1e-6)
    np.testing.assert_array_equal(canvas.Pixels(MEAN).project([pixels])[0], pixels)


@pytest.mark.parametrize("size", [32, 25])
def test_a_pyramids_levels_are_halves_and_each_moves_a_tent_of_its_own_width(size):
    each, levels = canvas.Pyramid(mean=MEAN), canvas.Pyramid().start([0], size)
    sides = [level.shape[1] for level in levels]
    assert sides == [size, -(-size // 2), -(-size // 4)] and all(level.shape[1:] == (n, n, 3) for n, level in
                                                                 zip(sides, levels, strict=True))  # fmt: skip
    for k, side in enumerate(sides):
        parts = [np.zeros_like(level) for level in levels]
        parts[k][0, side // 2, side // 2, 0] = 0.2
        change = each.image([tf.constant(p) for p in parts])[0].numpy() - MEAN
        np.testing.assert_allclose(change.sum((0, 1)), 0.05 * canvas.COLOUR[:, 0] * (size / side) ** 2, rtol=0.1)
        lit = np.flatnonzero(change[..., 0].max(axis=0) > 1e-6)
        assert lit[-1] - lit[0] <= 2 ** (k + 2) and (change[..., 0] >= -1e-6).all(), "local, and of one sign"


def test_a_pyramids_gradient_passes_where_the_picture_is_clipped():
    each = canvas.Pyramid(mean=MEAN)
    parts = [tf.constant(p) for p in each.encode(np.full((1, 16, 16, 3), 0.5, np.float32))]
    for shift in (0.0, 40.0):
        with tf.GradientTape() as tape:
            tape.watch(moved := [parts[0] + shift, *parts[1:]])
            image = each.image(moved)
            total = tf.reduce_sum(image)
        assert (image.numpy().max() == 1) == (shift > 0)
        fine, coarse = (slope.numpy() for slope in tape.gradient(total, moved))
        np.testing.assert_allclose(fine, np.broadcast_to(canvas.COLOUR.sum(0) / 4, fine.shape), atol=1e-6)
        inner = coarse[:, 1:-1, 1:-1]
        np.testing.assert_allclose(inner, np.broadcast_to(canvas.COLOUR.sum(0), inner.shape), atol=1e-5)


VIEWS = [canvas.Crop(4), canvas.Distort()]
SEEDS = tf.constant([[5, 1], [6, 1]])


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: type(v).__name__)
def test_views_are_off_at_amplitude_zero_and_each_image_has_its_own(view):
    pictures = tf.constant(RNG.random((2, 24, 24, 3)).astype(np.float32))
    low = view.margin // 2
    inner = pictures[:, low : 24 - low, low : 24 - low]
    np.testing.assert_allclose(view(pictures, SEEDS, tf.constant(0.0)), inner, atol=1e-5)
    seen = view(pictures, SEEDS, tf.constant(1.0))
    np.testing.assert_allclose(view(pictures[1:], SEEDS[1:], tf.constant(1.0))[0], seen[1], atol=1e-6)
    assert np.abs(seen - inner).max() > 0.1
    assert np.abs(view(pictures, SEEDS + [[0, 1]], tf.constant(1.0)) - seen).max() > 0.1


# --- recipes ----------------------------------------------------------------------------------------------------


def prior(recipe, name, image):
    values = dict(zip(recipe.priors.names, recipe.priors.values(image, None).numpy()[:, 0], strict=True))
    return values[name]


def test_mv2015_is_the_paper_in_units_of_sigma():
    size = 227
    image = RNG.random((1, size, size, 3)).astype(np.float32)
    x = (255 * (image[0].astype(float) - MEAN)) / 27098.1
    for stride, strength in ((2, 0.5), (8, 5.0), (16, 50.0)):
        recipe = recipes.mv2015(mean=MEAN, size=size, stride=stride)
        assert np.isclose(prior(recipe, "alpha norm", image), 2.16e8 * np.sum(np.abs(x) ** 6), rtol=1e-3)
        energy = np.sum(np.diff(x, axis=0) ** 2) + np.sum(np.diff(x, axis=1) ** 2)
        assert np.isclose(prior(recipe, "total variation", image), strength * energy, rtol=1e-3)
    assert recipe.optimizer == ("SGD", (("momentum", 0.9),)) and recipe.steps == 400 and not recipe.views
    rates, _, keeps, fades = recipe.schedules(400)
    expected = 0.3 * 0.004 * np.array([1, 1, 0.1, 0.1, 0.01, 0.01])
    np.testing.assert_allclose(rates[[0, 99, 100, 299, 300, 399]] / 27098.1**2, expected, rtol=1e-5)
    assert list(np.flatnonzero(keeps == 0)) == [100, 300], "momentum is reset at each rate change"
    assert (fades == 1).all(), "the paper's priors stay"
    assert np.isclose(recipe.canvas.spread * np.sqrt(3) * size, 27098.1, rtol=1e-4)


def test_mv2016_is_the_paper_over_its_c():
    image, fidelity = RNG.random((1, 20, 20, 3)).astype(np.float32), 300
    recipe = recipes.mv2016(mean=MEAN, size=20, stride=8)
    x = 255 * (image[0].astype(float) - MEAN)
    colour = np.mean(np.linalg.norm(x, axis=-1) ** 6) / 80**6
    assert np.isclose(prior(recipe, "colour norm", image), colour / fidelity, rtol=1e-4)
    energy = np.sum(np.diff(x, axis=0) ** 2) + np.sum(np.diff(x, axis=1) ** 2)
    assert np.isclose(prior(recipe, "total variation", image), (6.5 / 80) ** 2 * energy / 400 / fidelity, rtol=1e-4)
    assert recipe.canvas.bound == 160 and recipe.steps == 350 and recipe.optimizer[0] == "ForgetfulAdagrad"
    rates, amplitudes, keeps, fades = recipe.schedules(350)
    assert list(np.flatnonzero(np.diff(amplitudes))) == [299], "jitter is off in the last 50"
    assert (keeps == 1).all() and (fades == 1).all()
    assert np.isclose(rates[299] / rates[300], 10) and np.isclose(rates[0], rates[299])
    for stride, jitter in ((1, 1), (4, 1), (8, 2), (16, 4)):
        (view,) = recipes.mv2016(mean=MEAN, size=20, stride=stride).views
        assert view.margin == 2 * jitter


def test_simonyan2013_starts_at_the_zero_image_and_distill2017_at_faint_noise():
    recipe = recipes.simonyan2013(mean=MEAN, size=16)
    start = recipe.canvas.image([tf.constant(p) for p in recipe.canvas.start([0], 16)])
    np.testing.assert_allclose(start, np.broadcast_to(np.float32(MEAN), (1, 16, 16, 3)))
    assert recipe.priors.names == ("L2",) and not recipe.views
    distill = recipes.distill2017(mean=MEAN, size=16)
    assert distill.canvas.spread == 0.01 and distill.canvas.decay == 1.0 and distill.rate == 0.05
    assert (
        distill.views == (canvas.Distort(jitters=(16, 8), scale=0.05, degrees=5.0),) and distill.optimizer[0] == "Adam"
    )


def test_the_rungs_of_ours_add_to_the_papers_what_they_say():
    first, second, fourth = (
        recipes.CLASS_IMAGE[n](mean=MEAN, size=16) for n in ("simonyan2013", "robust2013", "maco2023")
    )
    assert second.priors.names == ("L2", "total variation") and second.priors.terms[0] == first.priors.terms[0]
    assert second.views == (canvas.Crop(16),) and second.margin == 16 and second.canvas == first.canvas
    assert fourth.canvas == canvas.Phase(mean=MEAN) and not fourth.priors.terms and fourth.optimizer[0] == "Nadam"
    assert fourth.views == (canvas.Distort(),) and fourth.steps == 256


def test_our_inversions_rate_and_priors_fall_to_zero_and_the_spectrum_ladders_rate_over_its_last_part():
    ours, spectrum = recipes.pyramid(mean=MEAN, size=16, stride=8), recipes.maco2023(mean=MEAN, size=16)
    rates, _, _, fades = ours.schedules(200)
    left = 1 - (np.arange(200) + 0.5) / 200
    np.testing.assert_allclose(rates / ours.rate, left, atol=1e-6)
    np.testing.assert_allclose(fades[24::25], 4 * left[24::25] ** 2, atol=0.005, err_msg="a parabola, by lines")
    assert fades[-1] < 0.01
    last = recipes.pyramid(mean=MEAN, size=16, stride=16).schedules(200)[3]
    np.testing.assert_allclose(last, fades + 0.5, atol=1e-6, err_msg="in the last block some stay")
    rates = spectrum.schedules(50)[0] / spectrum.rate
    assert (rates[:30] == 1).all() and np.isclose(rates[40], 9.5 / 20), "the last 0.4 of 50 steps"


def test_our_inversions_total_variation_finds_hue_dearer_than_brightness():
    recipe, ramp = recipes.pyramid(mean=MEAN, size=16, stride=4), np.linspace(0, 1, 6)[None, None, :, None]
    grey, hue = (
        prior(recipe, "total variation", np.float32(0.5 + 0.2 * ramp * direction * np.ones((1, 6, 1, 1))))
        for direction in (np.array([1, 1, 1]) / np.sqrt(3), np.array([1, 0, -1]) / np.sqrt(2))
    )
    assert 6.0 < hue / grey < 7.6, "the decorrelated colours' lengths differ by 3.6, to the power of 1.5 that is 6.8"
    deep = {term.name: term.weight for term in recipes.pyramid(mean=MEAN, size=16, stride=16).priors.terms}
    for term in recipe.priors.terms:
        assert np.isclose(deep[term.name], 4**2.1 * term.weight, rtol=1e-5)


def test_our_inversions_hold_the_mean_colour_in_the_last_block_alone_and_no_contrast():
    far, chequers = np.full((1, 4, 4, 3), 0.9, np.float32), np.float32(MEAN) * np.ones((1, 4, 4, 3), np.float32)
    chequers += 0.3 * (-1) ** np.add(*np.indices((4, 4)))[..., None]
    shallow, deep = (recipes.pyramid(mean=MEAN, size=4, stride=stride) for stride in (8, 16))
    bounds = [prior(r, "colour norm", far) / k for r, k in ((shallow, 2**2.1), (deep, 4**2.1))]
    norm = np.linalg.norm(255 * (0.9 - np.float32(MEAN))) / 80
    np.testing.assert_allclose(bounds, 8e-5 * (norm / 1.5) ** 6, rtol=1e-3, err_msg="1.5 of the paper's bound")
    assert "grey world" not in shallow.priors.names
    assert np.isclose(prior(deep, "grey world", far), 4**2.1 * 20 * 8e-5 * norm**2, rtol=1e-3)
    assert prior(deep, "grey world", chequers) < 1e-9


def test_our_inversions_closed_relus_leak_less_in_the_last_block():
    soft = {stride: recipes.pyramid(mean=MEAN, size=4, stride=stride).soft for stride in (1, 4, 8, 16)}
    assert soft == {1: (0.2, 0.5), 4: (0.2, 0.5), 8: (0.2, 0.5), 16: (0.1, 0.5)}


def test_forgetful_adagrad_is_the_papers_rule():
    import keras

    variable = keras.Variable(np.array([1.0, -2.0], np.float32))
    optimizer = ForgetfulAdagrad(learning_rate=0.5)
    optimizer.build([variable])
    x, squares, move = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for k in range(4):
        gradient = np.array([0.3, -1.0]) * (k + 1)
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        squares = 0.9 * squares + gradient**2
        move = 0.9 * move - gradient / (1 / 0.5 + np.sqrt(squares))
        x = x + move
        np.testing.assert_allclose(variable, x, rtol=1e-5)


def test_beta_is_a_knob():
    recipe = recipes.mv2016(mean=MEAN, size=20, stride=8, beta=1.0)
    image = RNG.random((1, 6, 6, 3)).astype(np.float32)
    assert np.isclose(prior(recipe, "total variation", image), total_variation(image[0], 1, 80 / 6.5) / 300, rtol=2e-3)
    with pytest.raises(ValueError, match="beta"):
        recipes.mv2016(mean=MEAN, size=20, stride=8, beta=0)


def test_the_papers_total_variation_is_of_squares_and_ours_between_squares_and_edges():
    made = {name: make(mean=MEAN, size=16, stride=4) for name, make in recipes.INVERSION.items()}
    exponents = {name: dict(recipe.priors.terms[-1].options)["beta"] for name, recipe in made.items()}
    assert exponents == {"pyramid": 1.5, "mv2016": 2.0, "mv2015": 2.0}
