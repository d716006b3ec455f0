"""From a saliency map to a mask and a box: two colour models and one graph cut (Simonyan et al. 2013, sec. 3.2)."""

from collections import namedtuple

import maxflow
import numpy as np
from scipy import ndimage
from sklearn.mixture import GaussianMixture

from vizlib import images
from vizlib.errors import InputError
from vizlib.parameters import positive_integer

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # half of the eight: the edges are symmetric
# trimap: int8 (H, W), see `trimap`; mask: bool (H, W); box: (top, left, bottom, right) px, the last two excluded
Segmentation = namedtuple("Segmentation", "trimap mask box")


def segment(image, saliency, *, foreground=0.95, background=0.30, components=5, smoothness=5.0, seed=0):
    """The object that a saliency map (H, W) points at in an image (H, W, 3): a Segmentation.
    foreground, background: quantiles of the saliency (the paper's); components of each colour mixture and smoothness
    are ours. One cut, colours only: the marked pixels may change sides. InputError where the map tells nothing."""
    image = images.check(image)
    marks = trimap(saliency, foreground=foreground, background=background)
    if marks.shape != image.shape[:2]:
        raise InputError(f"The map has shape {marks.shape}, the image {image.shape[:2]}; compute it on this image.")
    models = (colour_model(image[marks == side], components=components, seed=seed) for side in (1, -1))
    costs = (-model.score_samples(255.0 * image.reshape(-1, 3)).reshape(marks.shape) for model in models)
    mask = largest_component(graph_cut(image, *costs, smoothness=smoothness))
    return Segmentation(marks, mask, box(mask))


def trimap(saliency, *, foreground=0.95, background=0.30):
    """Marks int8 (H, W): 1 at or above one quantile of the saliency, −1 at or below the other, 0 between."""
    if not 0 <= background < foreground <= 1:
        raise InputError(f"It must be 0 ≤ background < foreground ≤ 1, not {background}, {foreground}; try 0.3, 0.95.")
    low, high = np.quantile(saliency, (background, foreground))
    if not low < high:  # so written, NaN is refused too
        raise InputError(f"The saliency map has the same value ({low:.4g}) at both quantiles, so it tells no object "
                         "from its background; use another method or class, or move the quantiles apart.")  # fmt: skip
    return (saliency >= high).astype(np.int8) - (saliency <= low)


def colour_model(colours, *, components=5, seed=0):
    """A mixture of at most `components` Gaussians fitted to colours (n, 3) in [0, 1], on the 0–255 scale."""
    count = min(positive_integer("components", components), len(np.unique(colours, axis=0)))
    two = np.resize(colours, (max(2, len(colours)), 3))  # a mixture takes no single pixel, and no flat colour without
    return GaussianMixture(count, reg_covar=1.0, random_state=seed).fit(255.0 * two)  # a grey level of spread


def graph_cut(image, inside, outside, *, smoothness=5.0):
    """The mask bool (H, W) of least energy: each pixel's cost `inside` or `outside` (H, W), and between neighbours on
    different sides smoothness · exp(−‖difference‖² / (2 · its mean)) / distance (Boykov & Jolly 2001)."""
    if not 0 <= smoothness < np.inf:
        raise InputError(f"The smoothness must be a number of at least 0, not {smoothness}; try 5.")
    graph = maxflow.GraphFloat()
    nodes, least = graph.add_grid_nodes(image.shape[:2]), np.minimum(inside, outside)
    graph.add_grid_tedges(nodes, inside - least, outside - least)  # the sink's side is inside
    shifted = [ndimage.shift(image, (-y, -x, 0), order=0, cval=np.nan) for y, x in NEIGHBOURS]
    contrasts = [np.sum((image - neighbour) ** 2, axis=-1) for neighbour in shifted]  # NaN where there is none
    scale = 2 * np.nanmean(contrasts) or 1.0
    for step, contrast in zip(NEIGHBOURS, contrasts, strict=True):
        weight = smoothness * np.exp(-np.nan_to_num(contrast) / scale) / np.hypot(*step)
        graph.add_grid_edges(nodes, weight, np.pad([[1]], [(1 + s, 1 - s) for s in step]), symmetric=True)
    graph.maxflow()
    return graph.get_grid_segments(nodes)


def largest_component(mask):
    """The largest 8-connected part of a mask: bool (H, W); InputError for an empty mask."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        raise InputError("The cut left no foreground; lower the smoothness or the foreground quantile.")
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def box(mask):
    """The bounding box of a mask that is not empty: (top, left, bottom, right) in px, the last two excluded."""
    rows, columns = ndimage.find_objects(np.asarray(mask, np.uint8))[0]
    return rows.start, columns.start, rows.stop, columns.stop
