"""One cut on colours: recovers a disc, follows its energy's closed forms, and refuses what tells nothing."""

import warnings

import numpy as np
import pytest

from vizlib import files, images, metrics, networks, saliency, segment
from vizlib.errors import InputError

SIZE = 64
Y, X = np.mgrid[:SIZE, :SIZE]
DISC = (Y - 30) ** 2 + (X - 36) ** 2 < 15**2
SALIENCY = np.exp(-((Y - 28) ** 2 + (X - 35) ** 2) / 100.0)  # peaks inside, a little beside the centre


def two_colours(noise=0.05, seed=0):
    colours = np.where(DISC[..., None], (0.8, 0.3, 0.2), (0.2, 0.4, 0.7))
    return np.clip(colours + noise * np.random.default_rng(seed).standard_normal(colours.shape), 0, 1).astype(
        np.float32
    )


def sentence(function, *arguments, **options):
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message and message[-1] == "."
    return message


def test_a_disc_is_recovered_from_a_blob_inside_it():
    found = segment.segment(two_colours(), SALIENCY)
    assert metrics.iou(found.mask, DISC) > 0.98
    assert metrics.box_iou(found.box, (16, 22, 45, 51)) > 0.95
    assert found.mask.dtype == bool and found.trimap.dtype == np.int8


def test_flat_colours_without_noise_are_no_trouble():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.iou(segment.segment(two_colours(noise=0), SALIENCY).mask, DISC) == 1


def test_smoothness_removes_speckles_and_the_same_seed_gives_the_same_mask():
    image = two_colours(noise=0.25, seed=1)
    rough, smooth = (segment.segment(image, SALIENCY, smoothness=s).mask for s in (0, 50))
    assert metrics.iou(smooth, DISC) > 0.95 > metrics.iou(rough, DISC)
    np.testing.assert_array_equal(smooth, segment.segment(image, SALIENCY, smoothness=50).mask)


def test_marked_pixels_may_change_sides():
    saliency = SALIENCY.copy()
    saliency[2:5, 2:5] = 2.0  # salient, but of the background's colour
    found = segment.segment(two_colours(), saliency)
    assert found.trimap[3, 3] == 1 and not found.mask[3, 3]
    assert metrics.iou(found.mask, DISC) > 0.95


@pytest.mark.parametrize("name", ["china", "flower"])
def test_marks_that_are_right_cut_a_photograph_right(name):
    truth = images.load(files.data_path("images", "masks", f"{name}.png"), size=224)[..., 0] > 0.5
    marks = truth + np.random.default_rng(0).random(truth.shape)  # any pixel of the object above all others
    assert metrics.iou(segment.segment(images.load(name, size=224), marks).mask, truth) > 0.9


def test_trimap_takes_its_quantiles():
    values = np.random.default_rng(0).permutation(np.arange(400.0)).reshape(20, 20)
    marks = segment.trimap(values)
    assert [(marks == v).sum() for v in (1, 0, -1)] == [20, 260, 120]
    assert (values[marks == 1].min(), values[marks == -1].max()) == (380, 119)
    assert (segment.trimap(values, foreground=0.5, background=0.5 - 1e-9) == 0).sum() == 0


def test_trimap_of_a_map_that_is_mostly_zero():
    saliency = np.zeros((10, 10))
    saliency[:2] = 1 + np.arange(20).reshape(2, 10)
    marks = segment.trimap(saliency)
    assert (marks == 1).sum() == 5 and (marks[2:] == -1).all()


def test_cut_without_smoothness_takes_the_cheaper_side():
    inside, outside = np.random.default_rng(0).normal(0, 5, (2, 12, 15))  # costs may be negative
    mask = segment.graph_cut(np.zeros((12, 15, 3)), inside, outside, smoothness=0)
    np.testing.assert_array_equal(mask, inside < outside)


def test_cut_has_the_least_energy_of_all_masks():
    rng = np.random.default_rng(3)
    for _ in range(5):
        image, (inside, outside) = rng.random((3, 3, 3)), rng.random((2, 3, 3))
        masks = np.array([[(n >> i) & 1 for i in range(9)] for n in range(512)], bool).reshape(-1, 3, 3)
        energies = [energy(image, m, inside, outside, smoothness=0.4) for m in masks]
        found = segment.graph_cut(image, inside, outside, smoothness=0.4)
        assert energy(image, found, inside, outside, smoothness=0.4) == pytest.approx(min(energies))
        assert len({e > min(energies) + 1e-6 for e in energies}) == 2


def energy(image, mask, inside, outside, *, smoothness):
    """The cut's energy written out pixel by pixel."""
    pixels = [(y, x) for y in range(3) for x in range(3)]
    pairs = [(p, q) for i, p in enumerate(pixels) for q in pixels[:i] if max(np.abs(np.subtract(p, q))) == 1]
    squares = [((image[p] - image[q]) ** 2).sum() for p, q in pairs]
    cost = np.where(mask, inside, outside).sum()
    for (p, q), square in zip(pairs, squares, strict=True):
        if mask[p] != mask[q]:
            cost += smoothness * np.exp(-square / (2 * np.mean(squares))) / np.hypot(*np.subtract(p, q))
    return cost


def test_largest_component_joins_corners():
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[1, 1] = mask[2, 2] = True
    mask[5, 4:] = True
    np.testing.assert_array_equal(segment.largest_component(mask), np.diag([1, 1, 1, 0, 0, 0]).astype(bool))


def test_box_bounds_the_mask_with_its_ends_excluded():
    mask = np.zeros((7, 9), bool)
    mask[2, 3] = mask[4, 8] = True
    top, left, bottom, right = segment.box(mask)
    assert (top, left, bottom, right) == (2, 3, 5, 9)
    assert mask[top:bottom, left:right].sum() == 2


def test_components_are_no_more_than_colours():
    assert segment.colour_model(np.tile([0.1, 0.2, 0.3], (40, 1))).n_components == 1
    assert segment.colour_model(np.random.default_rng(0).random((40, 3))).n_components == 5


@pytest.mark.parametrize("saliency", [np.ones((SIZE, SIZE)), np.full((SIZE, SIZE), np.nan), np.zeros((SIZE, SIZE))])
def test_a_map_that_tells_nothing_is_one_sentence(saliency):
    assert "same value" in sentence(segment.segment, two_colours(), saliency) or np.isnan(saliency).all()


def test_one_nan_is_refused():
    saliency = SALIENCY.copy()
    saliency[0, 0] = np.nan
    sentence(segment.segment, two_colours(), saliency)


@pytest.mark.parametrize(
    "options, hint",
    [
        ({"foreground": 0.2}, "0.2"),
        ({"background": -0.1}, "-0.1"),
        ({"foreground": 95}, "95"),
        ({"smoothness": -1}, "smoothness"),
        ({"smoothness": float("nan")}, "smoothness"),
        ({"components": 0}, "components"),
    ],
)
def test_impossible_numbers_are_one_sentence(options, hint):
    assert hint in sentence(segment.segment, two_colours(), SALIENCY, **options)


def test_a_map_of_another_size_is_one_sentence():
    assert "(32, 32)" in sentence(segment.segment, two_colours(), SALIENCY[::2, ::2])


def test_an_empty_mask_is_one_sentence():
    assert "foreground" in sentence(segment.largest_component, np.zeros((4, 4), bool))


def test_the_masks_drawn_by_hand_fit_their_photographs():
    for name in images.samples():
        drawn = images.load(files.data_path("images", "masks", f"{name}.png"))
        assert drawn.shape == images.load(name).shape and set(np.unique(drawn)) == {0, 1}
        assert 0.01 < drawn.mean() < 0.9


def test_smoothgrad_cuts_palace_and_flower_out_better_than_a_guess():
    network = networks.load("efficientnet_lite0")
    for name, best_guess in (("china", 0.41), ("flower", 0.66)):  # of all pixels and a centred square
        photo = images.load(name, size=224)
        truth = images.load(files.data_path("images", "masks", f"{name}.png"), size=224)[..., 0] > 0.5
        found = segment.segment(photo, saliency.smoothgrad(network, photo, int(np.argmax(network.logits(photo)))))
        assert metrics.iou(found.mask, truth) > best_guess + 0.1


def test_a_single_marked_pixel_is_enough_for_a_colour_model():
    model = segment.colour_model(np.float32([[0.2, 0.4, 0.6]]))
    np.testing.assert_allclose(model.means_, [[51, 102, 153]], rtol=1e-5)
    extreme = np.arange(35.0).reshape(5, 7)
    marks = segment.trimap(extreme, foreground=1.0, background=0.0)
    assert (marks == 1).sum() == (marks == -1).sum() == 1
