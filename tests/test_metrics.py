"""Numbers against closed forms, their limits, and the direction in which they must move."""

import numpy as np
import pytest

from vizlib import images, metrics

RNG = np.random.default_rng(0)
PHOTO = images.load("chelsea", size=64)


def test_pairwise_distance_is_the_mean_over_pairs_not_over_ordered_pairs_with_oneself():
    codes = np.array([[[0.0, 0]], [[3, 4]], [[6, 8]]])  # distances 5, 5, 10
    assert metrics.pairwise_distance(codes) == pytest.approx(20 / 3)
    assert metrics.normalised_error(codes[0], codes[1], 20 / 3) == pytest.approx(0.75)


def test_class_rank_counts_the_classes_above():
    logits = np.array([0.1, 3.0, -1.0, 2.0])
    assert [metrics.class_rank(logits, i) for i in range(4)] == [2, 0, 3, 1]


def test_psnr_of_a_constant_error_is_its_closed_form():
    assert metrics.psnr(PHOTO * 0 + 0.5, PHOTO * 0 + 0.4) == pytest.approx(20, abs=1e-4)
    assert metrics.psnr(PHOTO, PHOTO) == np.inf


def test_ssim_is_one_for_equal_images_and_falls_with_noise():
    noisy = [np.clip(PHOTO + s * RNG.standard_normal(PHOTO.shape), 0, 1).astype(np.float32) for s in (0.05, 0.2)]
    assert metrics.ssim(PHOTO, PHOTO) == pytest.approx(1)
    assert 1 > metrics.ssim(noisy[0], PHOTO) > metrics.ssim(noisy[1], PHOTO) > 0


def test_lab_shift_sees_colour_casts_and_not_places():
    assert metrics.lab_shift(PHOTO[::-1], PHOTO) == pytest.approx(0, abs=1e-3)
    white, black = np.ones((8, 8, 3)), np.zeros((8, 8, 3))
    assert metrics.lab_shift(white, black) == pytest.approx(100, abs=0.1)  # L* runs from 0 to 100
    assert metrics.lab_shift(PHOTO * np.float32([1, 0.7, 0.7]), PHOTO) > 5


def test_naturalness_orders_photographs_before_noise_and_flatness():
    others = np.stack([images.load(n, size=64) for n in images.samples() if n != "chelsea"])
    noise = RNG.random(PHOTO.shape).astype(np.float32)
    flat = np.full(PHOTO.shape, 0.5, np.float32)
    photo, noisy, dull = (metrics.naturalness(x, others) for x in (PHOTO, noise, flat))
    assert 1 >= photo > max(noisy, dull) + 0.2 and min(noisy, dull) >= 0
    assert metrics.naturalness(PHOTO, PHOTO) == pytest.approx(1)
    assert metrics.naturalness(PHOTO, PHOTO[None]) == metrics.naturalness(PHOTO, PHOTO)


def test_naturalness_of_a_ramp_falls_into_one_bin():
    ramp = np.repeat(np.arange(0, 256, 8)[None, :, None], 32, axis=0) / 255 * np.ones(3)
    assert metrics.naturalness(ramp, ramp[:, ::-1]) == pytest.approx(1)
    assert metrics.naturalness(ramp, ramp / 4) == pytest.approx(0)


def test_diversity_is_zero_for_copies_and_the_mean_over_pairs():
    other = PHOTO[:, ::-1]
    assert metrics.diversity([PHOTO] * 3) == pytest.approx(0)
    expected = 2 / 3 * (1 - metrics.ssim(PHOTO, other))
    assert metrics.diversity([PHOTO, PHOTO, other]) == pytest.approx(expected, abs=1e-6)


def test_mosaic_places_images_row_by_row():
    tiles = np.arange(4)[:, None, None, None] * np.ones((4, 5, 6, 3))
    mosaic = metrics.mosaic(tiles)
    assert mosaic.shape == (10, 12, 3)
    assert [mosaic[y, x, 0] for y in (0, 9) for x in (0, 11)] == [0, 1, 2, 3]


@pytest.mark.parametrize("quadrant", range(4))
def test_pointing_game_reads_the_quadrant_that_mosaic_fills(quadrant):
    tiles = np.zeros((4, 5, 6, 3))
    tiles[quadrant] = 1
    saliency = metrics.mosaic(tiles)[..., 0]
    assert metrics.pointing_game(saliency, quadrant) == (1.0, True)
    assert metrics.pointing_game(saliency, (quadrant + 1) % 4) == (0.0, False)


def test_pointing_game_counts_positive_saliency_only():
    saliency = np.ones((4, 4))
    assert metrics.pointing_game(saliency, 2)[0] == 0.25
    saliency[:2] = -7
    assert metrics.pointing_game(saliency, 2) == (0.5, True)
    assert metrics.pointing_game(-np.ones((4, 4)), 1)[0] == 0


def test_deletion_and_insertion_of_an_additive_score_are_their_closed_forms():
    weights = RNG.permutation(np.arange(64.0)).reshape(8, 8)
    weights /= weights.sum()
    image = np.ones((8, 8, 3), np.float32)
    score = lambda batch: np.array([np.sum(x[..., 0] * weights) for x in batch])
    curves = metrics.deletion_insertion(score, image, weights, steps=64, baseline=0.0)
    gained = np.concatenate([[0], np.cumsum(np.sort(weights.ravel())[::-1])])
    np.testing.assert_allclose(curves.insertion, gained, atol=1e-6)
    np.testing.assert_allclose(curves.deletion, 1 - gained, atol=1e-6)
    assert curves.insertion_auc + curves.deletion_auc == pytest.approx(1)
    opposite = metrics.deletion_insertion(score, image, -weights, steps=64, baseline=0.0)
    assert opposite.insertion_auc < 0.5 < curves.insertion_auc


def test_deletion_ends_at_the_baseline_and_insertion_at_the_image():
    score = lambda batch: np.array([x.std() for x in batch])
    curves = metrics.deletion_insertion(score, PHOTO, RNG.random((64, 64)), steps=4)
    assert len(curves.fractions) == 5
    assert curves.deletion[0] == curves.insertion[-1] == pytest.approx(PHOTO.std())
    assert curves.deletion[-1] == curves.insertion[0] == pytest.approx(PHOTO.mean((0, 1)).std(), abs=1e-6)


def test_rank_correlation_sees_order_only():
    a = RNG.random((9, 7))
    assert metrics.rank_correlation(a, a**3) == pytest.approx(1)
    assert metrics.rank_correlation(a, -a) == pytest.approx(-1)
    assert abs(metrics.rank_correlation(RNG.random((99, 99)), RNG.random((99, 99)))) < 0.05


def test_iou_of_masks_and_boxes():
    a, b = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    assert metrics.iou(a, b) == 1
    a[0:4, 0:6] = b[2:6, 3:9] = True  # 24 each, 2 × 3 in common
    assert metrics.iou(a, b) == metrics.box_iou((0, 0, 4, 6), (2, 3, 6, 9)) == pytest.approx(6 / 42)
    assert metrics.iou(a, a) == metrics.box_iou((0, 0, 4, 6), (0, 0, 4, 6)) == 1
    assert metrics.iou(a, ~a) == metrics.box_iou((0, 0, 4, 6), (5, 7, 9, 9)) == 0
