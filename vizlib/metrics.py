"""How good is it? Arrays in, numbers out. Images are (H, W, 3) in [0, 1]."""

from collections import namedtuple
from itertools import combinations

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from skimage.color import rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

# scores (steps + 1,) by the fraction of pixels deleted or inserted, and the areas under both
Curves = namedtuple("Curves", "fractions deletion insertion deletion_auc insertion_auc")


def pairwise_distance(codes):
    """Mean of ‖Φi − Φj‖ over all pairs of codes (n, …): the scale of `normalised_error`."""
    return float(pdist(np.reshape(codes, (len(codes), -1))).mean())


def normalised_error(code, target, scale):
    """‖Φ − Φ0‖ / scale (Mahendran & Vedaldi 2015, table 3: scale = mean pairwise distance of other images' codes)."""
    return float(np.linalg.norm(np.ravel(code - target)) / scale)


def class_rank(logits, index):
    """How many classes score higher than class `index`: 0 = top."""
    return int(np.sum(logits > logits[index]))


def psnr(image, reference):
    """Peak signal-to-noise ratio in dB; infinite for equal images."""
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, image, data_range=1.0))


def ssim(image, reference):
    """Structural similarity, −1 to 1 = equal (Wang et al. 2004)."""
    return float(structural_similarity(image, reference, channel_axis=-1, data_range=1.0))


def lab_shift(image, reference):
    """Distance of the mean CIELAB colours: about 2 is just noticeable, 20 another colour."""
    return float(np.linalg.norm(rgb2lab(image).mean((0, 1)) - rgb2lab(reference).mean((0, 1))))


def naturalness(image, references):
    """Overlap of an image's gradient histogram with that of a photograph or several (n, H, W, 3): 0 to 1 = alike.
    Of log2 of the grey gradient's magnitude in grey levels, of images as saved in 8 bits, in half octaves. It tells
    noise and flatness from texture, not sense from nonsense; compare images of one size only."""
    histograms = [_gradient_histogram(r) for r in np.reshape(references, (-1, *np.shape(references)[-3:]))]
    return float(np.minimum(_gradient_histogram(image), np.mean(histograms, axis=0)).sum())


def _gradient_histogram(image):
    grey = np.rint(255 * np.clip(image, 0, 1)).mean(axis=-1)
    magnitude = np.hypot(np.diff(grey, axis=0)[:, :-1], np.diff(grey, axis=1)[:-1])
    counts, _ = np.histogram(np.log2(np.maximum(magnitude, 1.0)), bins=np.arange(0, 9, 0.5))
    return counts / counts.sum()


def diversity(images):
    """Mean of 1 − SSIM over all pairs of images (n, H, W, 3): 0 = all the same."""
    return float(np.mean([1 - ssim(a, b) for a, b in combinations(images, 2)]))


def mosaic(images):
    """Four images of one size as one (2H, 2W, 3): 0 1 above 2 3."""
    return np.block([[[images[0]], [images[1]]], [[images[2]], [images[3]]]])


def pointing_game(saliency, quadrant):
    """(share of the positive saliency in a quadrant of a mosaic, whether its maximum is there); by chance a quarter.
    quadrant: 0 to 3, as in `mosaic` (grid pointing game, Böhle et al. 2021)."""
    inside = np.kron(np.arange(4).reshape(2, 2) == quadrant, np.ones([n // 2 for n in saliency.shape], bool))
    positive = np.maximum(saliency, 0)
    return float(positive[inside].sum() / (positive.sum() or 1.0)), bool(inside.flat[np.argmax(saliency)])


def deletion_insertion(score, image, saliency, *, steps=20, baseline=None):
    """Curves of the score while pixels give way to the baseline, or are put on it, the most salient ones first.
    score: iterable of images → (n,) probabilities; baseline: image or colour (None = the image's mean colour). A good
    map has a small area under deletion and a large one under insertion (Petsiuk et al. 2018)."""
    empty = np.broadcast_to(np.float32(image.mean((0, 1)) if baseline is None else baseline), image.shape)
    rank = np.argsort(np.argsort(-saliency.ravel(), kind="stable")).reshape(saliency.shape) / saliency.size
    fractions = np.linspace(0, 1, steps + 1)
    first = [(rank < f)[..., None] for f in fractions]
    deletion = np.asarray(score(np.where(chosen, empty, image) for chosen in first))
    insertion = np.asarray(score(np.where(chosen, image, empty) for chosen in first))
    areas = (float(np.trapezoid(curve, fractions)) for curve in (deletion, insertion))
    return Curves(fractions, deletion, insertion, *areas)


def rank_correlation(a, b):
    """Spearman's rank correlation of two maps: 1 = the same order of pixels."""
    return float(spearmanr(np.ravel(a), np.ravel(b)).statistic)


def iou(mask, truth):
    """Intersection over union of two masks (H, W); 1 where both are empty."""
    return float(np.sum(np.logical_and(mask, truth)) / union) if (union := np.sum(np.logical_or(mask, truth))) else 1.0


def box_iou(box, truth):
    """Intersection over union of two boxes (top, left, bottom, right)."""
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, truth)]
    common = np.minimum(box[2:], truth[2:]) - np.maximum(box[:2], truth[:2])
    return float((shared := np.prod(np.maximum(common, 0))) / (sum(areas) - shared))
