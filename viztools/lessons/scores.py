"""Checks of the exercises on class scores and saliency (Simonyan et al. 2013): e01, e02, e04, e05, e06, e10."""

import numpy as np
from scipy.special import expit, log_softmax, softmax
from scipy.stats import pearsonr, rankdata, spearmanr

from vizlib.backend import tf
from vizlib.check import NotYet
from viztools.lessons.register import close, compare, gradient, lesson, numbers, rng, tensor

e01 = lesson("e01", hint="one column of the table of logits is the class's own; softmax is one call in TensorFlow.")


def _pair(answer, logits, index):
    found = answer(tensor(logits), index)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise NotYet("two answers are wanted, the score and the probability. Try: return them with a comma between.")
    return [numbers(f, logits.shape[:1], w) for f, w in zip(found, ("the score", "the probability"), strict=True)]


def _logits():
    return rng.normal(0, 2, (5, 7)), int(rng.integers(7))


@e01.check("class score")
def _(answer):
    logits, c = _logits()
    score, own = _pair(answer, logits, c)[0], logits[:, c]
    compare(score, own, {
        "the first answer is the softmax probability, not the logit. Try: leave the logits as they are, and swap "
        "nothing.": softmax(logits, axis=1)[:, c],
        "the first answer is the log-probability, not the logit. Try: leave the logits as they are.":
            log_softmax(logits, axis=1)[:, c],
        "the score has the wrong sign, so it would be minimised, not maximised. Try: drop the minus.": -own,
        "this is the largest score of each image, whatever its class. Try: use index.": logits.max(axis=1),
    }, otherwise="the score is not that of class `index`. Try: print logits.shape: which axis counts the classes?")  # fmt: skip


@e01.check("probability")
def _(answer):
    logits, c = _logits()
    compare(_pair(answer, logits, c)[1], softmax(logits, axis=1)[:, c], {
        "this is the sigmoid of one logit; softmax weighs it against all others. Try: use the whole row.":
            expit(logits[:, c]),
        "softmax ran over the images instead of the classes. Try: choose the other axis.":
            softmax(logits, axis=0)[:, c],
        "this is the logarithm of the probability. Try: plain softmax.": log_softmax(logits, axis=1)[:, c],
        "this is exp(logit), not yet divided by the sum over all classes. Try: divide.": np.exp(logits[:, c]),
        "the second answer is the logit itself. Try: softmax first, then choose the class.": logits[:, c],
    }, otherwise="the probability is wrong. Try: check that the probabilities of all classes add up to 1.")  # fmt: skip


@e01.check("large logits")
def _(answer):
    logits, c = _logits()
    shift = float(rng.uniform(200, 400))
    moved = _pair(answer, logits + shift, c)
    if not close(moved[1], softmax(logits, axis=1)[:, c], 1e-2) or not close(moved[0], logits[:, c] + shift):
        raise NotYet("a constant added to all logits must move the score by it and leave the probability alone. Try: "
                     "TensorFlow's own softmax, which subtracts the largest logit first.")  # fmt: skip


@e01.check("gradients")
def _(answer):
    logits, c = _logits()
    slopes = [
        gradient(lambda z, k=k: answer(z, c)[k], logits, w) for k, w in ((0, "the score"), (1, "the probability"))
    ]
    p, own = softmax(logits, axis=1), np.eye(7)[c]
    fine = close(slopes[0], np.tile(own, (5, 1))) and close(slopes[1], p[:, [c]] * (own - p))
    if not fine:
        raise NotYet("the values are right but their gradients are not. Try: leave out rounding and stop_gradient.")


e02 = lesson("e02", hint="watch the image inside a tf.GradientTape, and ask the tape for one gradient.")


def _map(answer, score, image):
    return numbers(answer(score, image.copy()), image.shape[:2], "the map")


@e02.check("linear score")
def _(answer):
    image = rng.uniform(0.2, 0.8, (8, 11, 3)).astype(np.float32)
    w = rng.normal(-0.5, 1, image.shape) * rng.uniform(2, 5)
    found, size = _map(answer, lambda x: tf.reduce_sum(x * tensor(w), axis=(1, 2, 3)), image), np.abs(w)
    top = np.max(size, axis=-1)
    unit = lambda m: (m - m.min()) / np.ptp(m)
    compare(found, top, {
        "the absolute value is missing. Try: a pixel that lowers the score matters as much.": np.max(w, axis=-1),
        "the absolute value comes too late, after the maximum. Try: the other order.": np.abs(np.max(w, axis=-1)),
        "this is the mean over channels instead of the maximum. Try: read the formula again.": size.mean(axis=-1),
        "this is the sum over channels instead of the maximum. Try: read the formula again.": size.sum(axis=-1),
        "this is the length of the three channels' vector, not their largest. Try: read the formula again.":
            np.linalg.norm(w, axis=-1),
        "colours were averaged before the absolute value, so they cancel. Try: the other order.":
            np.abs(w.mean(axis=-1)),
        "the gradient is multiplied by the image: that is another method. Try: leave the image out.":
            np.max(np.abs(w * image), axis=-1),
        "the map is stretched to 0…1, which hides how strong it is. Try: return it as it is.": unit(top),
        "the map is divided by its largest value, which hides how strong it is. Try: return it as it is.":
            top / top.max(),
    }, otherwise="for a score Σ w·x the map is not what the formula says. Try: print the gradient; here it is w.")  # fmt: skip


@e02.check("curved score, by finite differences")
def _(answer):
    image, h = rng.uniform(0.2, 0.8, (6, 5, 3)).astype(np.float32), 1e-4
    a, b = rng.normal(size=image.shape), rng.uniform(1, 4, image.shape)
    found = _map(answer, lambda x: tf.reduce_sum(tensor(a) * tf.sin(tensor(b) * x), axis=(1, 2, 3)), image)
    rise = a * (np.sin(b * (image.astype(float) + h)) - np.sin(b * (image.astype(float) - h)))
    compare(found, np.abs(rise / (2 * h)).max(axis=-1),
            otherwise="finite differences at the image give another slope. Try: take the gradient at this very image.")  # fmt: skip


@e02.check("a score and its negative")
def _(answer):
    image, w = rng.uniform(0, 1, (7, 7, 3)).astype(np.float32), tensor(rng.normal(size=(7, 7, 3)))
    score = lambda x: tf.reduce_sum(tf.tanh(x * w), axis=(1, 2, 3))
    if not close(_map(answer, score, image), _map(answer, lambda x: -score(x), image)):
        raise NotYet("a score and its negative must give one map. Try: where does the absolute value belong?")


e04 = lesson(
    "e04", hint="loop over the steps; in each, a tape gives the gradient, tf.sign its direction, then clip twice."
)


def _fooled(answer, score, image, epsilon, steps):
    return numbers(answer(score, image.copy(), epsilon, steps), image.shape, "the fooling image")


@e04.check("linear score")
def _(answer):
    image, epsilon, steps = rng.uniform(0, 1, (6, 7, 3)).astype(np.float32), float(rng.uniform(0.05, 0.1)), 7
    w = rng.normal(size=image.shape) * rng.uniform(0.5, 2)
    found = _fooled(answer, lambda x: tf.reduce_sum(x * tensor(w), axis=(1, 2, 3)), image, epsilon, steps)
    inside, step = lambda x: np.clip(x, 0, 1), epsilon / 4
    compare(found, inside(image + epsilon * np.sign(w)), {
        "the score is minimised, not maximised. Try: change a sign.": inside(image - epsilon * np.sign(w)),
        "the steps add up beyond ε. Try: clip against the first image in every step.":
            inside(image + steps * step * np.sign(w)),
        "some values left the range from 0 to 1, which no picture has. Try: clip a second time.":
            image + epsilon * np.sign(w),
        "neither ε nor the range from 0 to 1 is kept. Try: clip twice.": image + steps * step * np.sign(w),
        "only one step was taken. Try: a loop.": inside(image + step * np.sign(w)),
        "the gradient itself was added, not its sign. Try: every value moves by ε/4.":
            inside(np.clip(image + steps * step * w, image - epsilon, image + epsilon)),
    }, otherwise="for a score Σ w·x every value should go as far as it may. Try: print how far yours went.")  # fmt: skip


@e04.check("curved score")
def _(answer):
    image, epsilon = rng.uniform(0.3, 0.7, (5, 6, 3)).astype(np.float32), 0.1
    goal = image + rng.uniform(-0.09, 0.09, image.shape)
    found = _fooled(answer, lambda x: -tf.reduce_sum((x - tensor(goal)) ** 2, axis=(1, 2, 3)), image, epsilon, 12)
    if np.max(np.abs(found - goal)) > epsilon / 4 + 1e-3:
        raise NotYet("a hill with its top within reach was not climbed. Try: take the gradient anew in every step, at "
                     "the image as it is by then.")  # fmt: skip


e05 = lesson("e05", hint="two loops over the corners that fit, the sum of each window, and the best so far.")


def _place(answer, saliency, side):
    return numbers(answer(saliency.copy(), side), (2,), "the place")


def _windows(saliency, side):
    sums = np.lib.stride_tricks.sliding_window_view(saliency, (side, side)).sum(axis=(2, 3))
    at = lambda k: np.array(np.unravel_index(k, sums.shape), float)
    return at(sums.argmax()), at(sums.argmin())


@e05.check("a bright patch")
def _(answer):
    shape, side = (int(rng.integers(14, 18)), int(rng.integers(20, 25))), int(rng.integers(3, 6))
    saliency, top, left = rng.uniform(0, 0.5, shape), *(int(rng.integers(1, n - side - 1)) for n in shape)
    while abs(top - left) < 2:
        left = int(rng.integers(1, shape[1] - side - 1))
    saliency[top : top + side, left : left + side] += 1
    far = (shape[0] - 1 if top < shape[0] // 2 else 0, shape[1] - 1 if left < shape[1] // 2 else 0)
    saliency[far] = 4.0
    best, worst = _windows(saliency, side)
    compare(_place(answer, saliency, side), best, {
        "row and column are swapped. Try: rows come first.": best[::-1],
        "this is the brightest pixel, not the brightest window. Try: sum over each window.": far,
        "this is the window's middle. Try: return its upper left corner.": best + side // 2,
        "this is the window's last corner. Try: return its upper left corner.": best + side - 1,
        "this is the darkest window. Try: turn the comparison round.": worst,
    }, otherwise="another window has a larger sum. Try: a small map that you can add up by hand.", tolerance=1e-6)  # fmt: skip


@e05.check("windows at the border")
def _(answer):
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        saliency = rng.uniform(0, 0.1, (9, 12))
        saliency[corner] = 5.0
        saliency[np.where(corner[0], -2, 1), np.where(corner[1], -2, 1)] = 5.0
        found = _place(answer, saliency, 2)
        if not close(found, _windows(saliency, 2)[0], 1e-6):
            raise NotYet("a patch in a corner of the map is missed. Try: how many places does a window of this side "
                         "have in a row? Count them for a map of 3 by 3 and a window of 2.")  # fmt: skip


@e05.check("only order counts")
def _(answer):
    saliency = rng.uniform(0, 1, (11, 13))
    if not close(_place(answer, saliency, 4), _place(answer, -5 + 3 * saliency, 4), 1e-6):
        raise NotYet("a map with a constant added has another place now. Try: begin with minus infinity as the best.")


e06 = lesson("e06", hint="replace every value by its rank, 0 for the smallest, then correlate the ranks.")


def _maps():
    a = rng.normal(size=(9, 8)) ** 3
    return a, a + rng.normal(size=a.shape) * rng.uniform(1, 2)


def _likeness(answer, a, b):
    return numbers(answer(a.copy(), b.copy()), (), "the correlation")


@e06.check("two random maps")
def _(answer):
    a, b = _maps()
    ranks = np.array([rankdata(m.ravel()) for m in (a, b)])
    order = [np.argsort(m, axis=None) for m in (a, b)]
    truth, unit = spearmanr(a.ravel(), b.ravel())[0], lambda v: v / np.linalg.norm(v)
    compare(_likeness(answer, a, b), truth, {
        "this is the correlation of the values, not of their ranks. Try: replace each value by its rank.":
            pearsonr(a.ravel(), b.ravel())[0],
        "one argsort gives the order, not the ranks. Try: what does argsort of the order give?": pearsonr(*order)[0],
        "the mean of the ranks is not taken away. Try: subtract it first.": unit(ranks[0]) @ unit(ranks[1]),
        "the mean of the ranks is not taken away. Try: subtract it before.":
            unit(ranks[0] - 1) @ unit(ranks[1] - 1),
        "the sign is turned round. Try: equal maps must give 1.": -truth,
    }, otherwise="it differs from the rank correlation. Try: two maps of three pixels, by hand.", tolerance=1e-6)  # fmt: skip


@e06.check("equal and opposite maps")
def _(answer):
    a, _other = _maps()
    if not (close(_likeness(answer, a, a), 1.0) and close(_likeness(answer, a, -a), -1.0)):
        raise NotYet("a map must have correlation 1 with itself and −1 with its negative. Try: divide by both lengths.")


@e06.check("stretching changes nothing")
def _(answer):
    a, b = _maps()
    if not close(_likeness(answer, a, b), _likeness(answer, np.exp(a / 4), 7 + b)):
        raise NotYet("a map stretched without changing its order must keep its correlation. Try: use ranks only.")


e10 = lesson("e10", hint="np.quantile gives both thresholds; compare the map with them, and put +1 and −1 together.")


def _marks(answer, saliency, foreground, background):
    return numbers(answer(saliency.copy(), foreground, background), saliency.shape, "the marks")


def _by(saliency, high, low):
    return np.where(saliency >= high, 1, np.where(saliency <= low, -1, 0))


@e10.check("thresholds")
def _(answer):
    saliency, high, low = rng.gamma(0.7, size=(25, 31)), rng.uniform(0.8, 0.95), rng.uniform(0.2, 0.5)
    share = rankdata(saliency).reshape(saliency.shape) / saliency.size
    truth, most = _by(share, high, low), saliency.max()
    found = _marks(answer, saliency, high, low)
    if np.mean(found != truth) < 0.005:
        return
    compare(found, truth, {
        "+1 and −1 are swapped. Try: bright is object.": -truth,
        "these are shares of the largest value, not quantiles. Try: how many pixels lie below?":
            _by(saliency, high * most, low * most),
        "the quantile is read as per cent. Try: np.quantile takes 0.95, np.percentile takes 95.":
            _by(saliency, *np.percentile(saliency, (high, low))),
        "the background is marked 0 and what is between 1 or more. Try: −1, 0 and 1.": truth + 1,
        "the background is not marked. Try: −1 at or below the lower quantile.": np.maximum(truth, 0),
        "the object is not marked. Try: +1 at or above the upper quantile.": np.minimum(truth, 0),
        "the two quantiles are swapped. Try: which of them is for the object?": np.where(share >= low, 1, -1),
    }, otherwise="the marks differ from the quantiles'. Try: count how many pixels are +1, and how many −1.")  # fmt: skip


@e10.check("stretching changes nothing")
def _(answer):
    saliency = rng.gamma(0.7, size=(20, 22))
    before, after = (_marks(answer, m, 0.9, 0.4) for m in (saliency, np.sqrt(saliency) * 50))
    if np.mean(before != after) > 0.01:
        raise NotYet("a map stretched without changing its order must keep its marks. Try: quantiles of this very map.")
