"""Checks of the exercises on class scores and saliency (Simonyan et al. 2013): e01, e02, e04, e05, e06, e10."""

import numpy as np
from scipy.special import expit, log_softmax, softmax
from scipy.stats import pearsonr, rankdata, spearmanr

from vizlib.backend import tf
from viztools.examine import NotYet
from viztools.lessons.register import Lesson, close, compare, gradient, numbers, rng, tensor

e01 = Lesson("e01", hint="one column of the table of logits is the class's own; softmax is one call in TensorFlow.")


def _logits():
    return rng.normal(0, 2, (5, 7)), int(rng.integers(7))


def _pair(answer, logits, index):
    found = answer(tensor(logits), index)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise NotYet("two answers are wanted, the score and the probability; return them with a comma between.")
    return [numbers(f, logits.shape[:1], w) for f, w in zip(found, ("the score", "the probability"), strict=True)]


@e01.check("class score")
def _(answer):
    logits, c = _logits()
    chance, own = softmax(logits, axis=1)[:, c], logits[:, c]
    known = {
        "the first answer is the softmax probability, not the logit; leave the logits as they are.": chance,
        "the first answer is the log-probability, not the logit; leave the logits as they are.": np.log(chance),
        "the score is minimised, not maximised; drop the minus.": -own,
        "this is the largest score of each image, whatever its class; use index.": logits.max(axis=1),
    }
    otherwise = "the score is not that of class `index`; print logits.shape: which axis counts the classes?"
    compare(_pair(answer, logits, c)[0], own, known, otherwise)


@e01.check("probability")
def _(answer):
    logits, c = _logits()
    own = logits[:, c]
    known = {
        "this is the sigmoid of one logit; softmax weighs it against all the others.": expit(own),
        "softmax ran over the images instead of the classes; choose the other axis.": softmax(logits, axis=0)[:, c],
        "this is the logarithm of the probability; take plain softmax.": log_softmax(logits, axis=1)[:, c],
        "this is exp(logit), not yet a share of the sum over all classes; divide.": np.exp(own),
        "the second answer is the logit itself; softmax first, then choose the class.": own,
    }
    otherwise = "the probability is wrong; check that the probabilities of all classes add up to 1."
    compare(_pair(answer, logits, c)[1], softmax(logits, axis=1)[:, c], known, otherwise)


@e01.check("large logits")
def _(answer):
    (logits, c), shift = _logits(), float(rng.uniform(200, 400))
    score, chance = _pair(answer, logits + shift, c)
    if not close(chance, softmax(logits, axis=1)[:, c], 1e-2) or not close(score, logits[:, c] + shift):
        raise NotYet("a constant added to all logits must move the score by it and leave the probability alone; "
                     "TensorFlow's own softmax subtracts the largest logit first.")  # fmt: skip


@e01.check("gradients")
def _(answer):
    logits, c = _logits()
    slopes = [gradient(lambda z, k=k: answer(z, c)[k], logits, f"answer {k + 1}") for k in (0, 1)]
    p, own = softmax(logits, axis=1), np.eye(7)[c]
    if not (close(slopes[0], np.tile(own, (5, 1))) and close(slopes[1], p[:, [c]] * (own - p))):
        raise NotYet("the values are right but their gradients are not; leave out rounding and stop_gradient.")


e02 = Lesson("e02", hint="watch the image inside a tf.GradientTape, and ask the tape for one gradient.")


def _map(answer, score, image):
    return numbers(_array(answer(score, image.copy())), image.shape[:2], "the map")


def _array(found):
    if tf.is_tensor(found):  # cells below the check take an array's methods for granted
        raise NotYet("the answer is a tensor, and a NumPy array is wanted; add .numpy().")
    return found


@e02.check("linear score")
def _(answer):
    image = rng.uniform(0.2, 0.8, (8, 11, 3)).astype(np.float32)
    w = rng.normal(-0.5, 1, image.shape) * rng.uniform(2, 5)
    size, top = np.abs(w), np.abs(w).max(axis=-1)
    known = {
        "the absolute value is missing; a pixel that lowers the score matters as much.": w.max(axis=-1),
        "the absolute value comes too late, after the maximum; change the order.": np.abs(w.max(axis=-1)),
        "this is the mean over channels instead of the maximum; read the formula again.": size.mean(axis=-1),
        "this is the sum over channels instead of the maximum; read the formula again.": size.sum(axis=-1),
        "this is the length of the three channels' vector, not their largest.": np.linalg.norm(w, axis=-1),
        "channels were averaged before the absolute value, so they cancel.": np.abs(w.mean(axis=-1)),
        "the gradient is multiplied by the image, another method; leave it out.": np.abs(w * image).max(axis=-1),
        "the map is stretched to 0…1 (min–max); return it as it is.": (top - top.min()) / np.ptp(top),
        "the map is divided by its largest value; return it as it is.": top / top.max(),
    }
    found = _map(answer, lambda x: tf.reduce_sum(x * tensor(w), axis=(1, 2, 3)), image)
    compare(found, top, known, "for a score Σ w·x the map is not the formula's; print the gradient, which here is w.")


@e02.check("curved score by finite differences")
def _(answer):
    image, h = rng.uniform(0.2, 0.8, (6, 5, 3)).astype(np.float32), 1e-4
    a, b = rng.normal(size=image.shape), rng.uniform(1, 4, image.shape)
    found = _map(answer, lambda x: tf.reduce_sum(tensor(a) * tf.sin(tensor(b) * x), axis=(1, 2, 3)), image)
    rise = a * (np.sin(b * (image.astype(float) + h)) - np.sin(b * (image.astype(float) - h)))
    otherwise = "finite differences give another slope; take the gradient at this very image."
    compare(found, np.abs(rise / (2 * h)).max(axis=-1), {}, otherwise)


@e02.check("a score and its negative")
def _(answer):
    image, w = rng.uniform(0, 1, (7, 7, 3)).astype(np.float32), tensor(rng.normal(size=(7, 7, 3)))
    score = lambda x: tf.reduce_sum(tf.tanh(x * w), axis=(1, 2, 3))
    if not close(_map(answer, score, image), _map(answer, lambda x: -score(x), image)):
        raise NotYet("a score and its negative must give one map; where does the absolute value belong?")


e04 = Lesson("e04", hint="write one step: a gradient, its sign, and two clips; then put it into a loop.")


def _fooled(answer, score, image, epsilon, steps):
    return numbers(_array(answer(score, image.copy(), epsilon, steps)), image.shape, "the fooling image")


@e04.check("linear score")
def _(answer):
    x, most, steps = rng.uniform(0, 1, (6, 7, 3)).astype(np.float32), float(rng.uniform(0.05, 0.1)), 7
    x[0], x[1] = 0.0, 1.0  # so that some values always want to leave the range
    w = rng.normal(size=x.shape) * rng.uniform(0.5, 2)
    sign, far, fit = np.sign(w), steps * most / 4, lambda z: np.clip(z, 0, 1)
    known = {
        "the score is minimised, not maximised; change a sign.": fit(x - most * sign),
        "the steps add up beyond ε; clip against the first image in every step.": fit(x + far * sign),
        "some values left the range from 0 to 1, which no picture has; clip twice.": x + most * sign,
        "neither ε nor the range from 0 to 1 is kept; clip twice.": x + far * sign,
        "only one step was taken; write a loop.": fit(x + most / 4 * sign),
        "the gradient itself was added, not its sign.": fit(np.clip(x + far * w, x - most, x + most)),
    }
    found = _fooled(answer, lambda z: tf.reduce_sum(z * tensor(w), axis=(1, 2, 3)), x, most, steps)
    otherwise = "for a score Σ w·x every value should go as far as it may; print how far yours went."
    compare(found, fit(x + most * sign), known, otherwise)


@e04.check("curved score")
def _(answer):
    image, epsilon = rng.uniform(0.3, 0.7, (5, 6, 3)).astype(np.float32), 0.1
    goal = image + rng.uniform(-0.09, 0.09, image.shape)
    found = _fooled(answer, lambda x: -tf.reduce_sum((x - tensor(goal)) ** 2, axis=(1, 2, 3)), image, epsilon, 12)
    if np.max(np.abs(found - goal)) > epsilon / 4 + 1e-3:
        raise NotYet("a hill with its top within reach was not climbed; take the gradient anew in every step.")


@e04.check("never further than ε")
def _(answer):
    image, epsilon, far = rng.uniform(0.3, 0.7, (5, 6, 3)).astype(np.float32), 0.1, [0.0]

    def score(x):
        if tf.executing_eagerly():
            far.append(float(tf.reduce_max(tf.abs(x - image))))
        return tf.reduce_sum(tensor(slope) * x, axis=(1, 2, 3))

    slope = rng.normal(size=image.shape)
    _fooled(answer, score, image, epsilon, 12)
    if max(far) > epsilon + 1e-4:
        raise NotYet("on its way the image was further than ε from the first; clip inside the loop, in every step.")


e05 = Lesson("e05", hint="two loops over the corners that fit, the sum of each window, and the best so far.")


def _place(answer, saliency, side):
    return numbers(answer(saliency.copy(), side), (2,), "the place")


def _windows(saliency, side):
    sums = np.lib.stride_tricks.sliding_window_view(saliency, (side, side)).sum(axis=(2, 3))
    return [np.array(np.unravel_index(k, sums.shape), float) for k in (sums.argmax(), sums.argmin())]


@e05.check("bright patches")
def _(answer):
    for side in (3, 4, 5):
        top, left, saliency = int(rng.integers(1, 20)), int(rng.integers(30, 54)), rng.uniform(0, 0.5, (30, 60))
        saliency[top : top + side, left : left + side] += 1
        saliency[29, 0] = 2.5  # the brightest pixel lies elsewhere
        best, worst = _windows(saliency, side)
        known = {
            "row and column are swapped; rows come first.": best[::-1],
            "this is the brightest pixel, not the brightest window; sum over each window.": (29, 0),
            "this is the window's middle; return its upper left corner.": best + side // 2,
            "this is the window's last corner; return its upper left corner.": best + side - 1,
            "this is the darkest window; turn the comparison round.": worst,
        }
        otherwise = "another window has a larger sum; try a small map that you can add up by hand."
        compare(_place(answer, saliency, side), best, known, otherwise, tolerance=1e-6)


@e05.check("windows at the border")
def _(answer):
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        saliency = rng.uniform(0, 0.1, rng.integers(9, 20, 2))
        saliency[corner] = saliency[np.where(corner[0], -2, 1), np.where(corner[1], -2, 1)] = 5.0
        otherwise = "a patch in a corner is missed; in how many places does a window of 2 fit into a row of 3?"
        compare(_place(answer, saliency, 2), _windows(saliency, 2)[0], {}, otherwise, tolerance=1e-6)


e06 = Lesson("e06", hint="replace every value by its rank, 0 for the smallest, then correlate the ranks.")


def _maps():
    a = rng.normal(size=(9, 8)) ** 3
    return a, a + rng.normal(size=a.shape) * rng.uniform(1, 2)


def _likeness(answer, a, b):
    return numbers(answer(a.copy(), b.copy()), (), "the correlation")


def _cosine(a, b):
    return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))


@e06.check("two random maps")
def _(answer):
    a, b = _maps()
    (ra, rb), truth = [rankdata(m) for m in (a, b)], spearmanr(a.ravel(), b.ravel())[0]
    order = [np.argsort(m, axis=None) for m in (a, b)]
    known = {
        "this is the correlation of the values, not of their ranks.": pearsonr(a.ravel(), b.ravel())[0],
        "one argsort gives the order, not the ranks; what does argsort of the order give?": pearsonr(*order)[0],
        "the mean of the ranks is not taken away; subtract it first.": _cosine(ra.ravel() - 1, rb.ravel() - 1),
        "the mean of the ranks is not taken away; subtract it before.": _cosine(ra.ravel(), rb.ravel()),
        "the sign is turned round; equal maps must give 1.": -truth,
    }
    otherwise = "it differs from the rank correlation; try two maps of three pixels, by hand."
    compare(_likeness(answer, a, b), truth, known, otherwise, tolerance=1e-6)


@e06.check("stretching changes nothing")
def _(answer):
    a, b = _maps()
    if not close(_likeness(answer, a, b), _likeness(answer, np.exp(a / 4), 7 + b)):
        raise NotYet("a map stretched without changing its order must keep its correlation; use ranks only.")


e10 = Lesson("e10", hint="np.quantile gives both thresholds; compare the map with them, and put +1 and −1 together.")


def _marks(answer, saliency, high, low):
    return numbers(answer(saliency.copy(), high, low), saliency.shape, "the marks")


def _by(saliency, high, low):
    return np.where(saliency >= high, 1, np.where(saliency <= low, -1, 0))


@e10.check("thresholds")
def _(answer):
    saliency, high, low = rng.gamma(0.7, size=(25, 31)), rng.uniform(0.8, 0.95), rng.uniform(0.2, 0.5)
    share, most = (rankdata(saliency) - 1) / (saliency.size - 1), saliency.max()
    truth, found = _by(share, high, low).reshape(saliency.shape), _marks(answer, saliency, high, low)
    found = np.where(np.mean(found != truth) < 0.005, truth, found)  # quantiles lie between two pixels, or on one
    known = {
        "+1 and −1 are swapped; bright is object.": -truth,
        "these are shares of the largest value, not quantiles.": _by(saliency, high * most, low * most),
        "a quantile is read as per cent; np.quantile takes 0.95.": _by(saliency, *np.percentile(saliency, (high, low))),
        "the background is marked 0, not −1, and all else one higher.": truth + 1,
        "the background is not marked; −1 at or below the lower quantile.": np.maximum(truth, 0),
        "the object is not marked; +1 at or above the upper quantile.": np.minimum(truth, 0),
    }
    compare(found, truth, known, "the marks differ from the quantiles'; count how many pixels are +1, and how many −1.")


@e10.check("stretching changes nothing")
def _(answer):
    saliency = rng.gamma(0.7, size=(20, 22))
    before, after = (_marks(answer, m, 0.9, 0.4) for m in (saliency, np.sqrt(saliency) * 50))
    if np.mean(before != after) > 0.01:
        raise NotYet("a map stretched without changing its order must keep its marks; use quantiles of this very map.")
