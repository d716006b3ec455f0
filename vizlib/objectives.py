"""What an image is asked to do: terms on features and priors on pixels, composed with `+` and `*`.

    objective = match(code) + 0.5 * total_variation()

A term gives one number an image, from a batch of images and their features; lower is better. Priors look at
x = 255 · (image − mean), the papers' mean-subtracted 0–255 scale."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from vizlib.backend import tf
from vizlib.errors import InputError
from vizlib.parameters import number

GREY = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Term:
    """One named summand: weight · function(image, features, data) → (B,). Weight and data (targets) are inputs of a
    compiled loop and do not count when terms are compared, so that a loop is compiled once for all of them."""

    name: str
    function: Callable
    options: tuple = ()
    prior: bool = False
    weight: float = field(default=1.0, compare=False)
    data: tuple = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class Objective:
    """A sum of terms; `names` are theirs in order, `data` their targets, a tuple of tensors a term."""

    terms: tuple[Term, ...] = ()

    def __add__(self, other):
        return Objective(self.terms + other.terms)

    def __mul__(self, factor):
        return Objective(tuple(replace(t, weight=t.weight * factor) for t in self.terms))

    __rmul__ = __mul__

    names = property(lambda self: tuple(t.name for t in self.terms))
    data = property(lambda self: tuple(t.data for t in self.terms))

    def weights(self, *, strength=1.0):
        """The terms' weights (float32 tensor), priors times `strength`."""
        return tf.constant([t.weight * (strength if t.prior else 1.0) for t in self.terms], tf.float32)

    def values(self, image, features, *, weights=None, data=None):
        """Weighted values (n_terms, B) at a batch of images (B, H, W, 3) and its features."""
        weights = self.weights() if weights is None else weights
        pairs = zip(self.terms, self.data if data is None else data, strict=True)
        one = [tf.broadcast_to(t.function(image, features, d), tf.shape(image)[:1]) for t, d in pairs]
        return weights[:, None] * tf.stack(one)


_made = {}  # (name, options) → the function first made for them, so that two terms of one kind are equal


def _term(name, function, *data, prior=False, **options):
    data, options = tuple(tf.convert_to_tensor(d, tf.float32) for d in data), tuple(sorted(options.items()))
    return Objective((Term(name, _made.setdefault((name, options), function), options, prior, data=data),))


_sum = lambda x: tf.reduce_sum(tf.reshape(x, (tf.shape(x)[0], -1)), axis=1)
_centred = lambda image, mean: 255.0 * (image - tf.constant(mean, tf.float32))


def match(target, *, mask=1.0):
    """Feature error ‖m(Φ(x) − Φ0)‖² / ‖mΦ0‖² (Mahendran & Vedaldi 2015, eq. 2). target: Φ0, (1 or B, …) as the cut
    network gives it; mask: m, broadcast against it. Raises InputError where the target is zero or not finite."""
    target = tf.convert_to_tensor(target, tf.float32)
    mask = tf.cast(mask, tf.float32) * tf.ones_like(target)  # masks of one shape share one compiled loop
    norm = float(tf.reduce_min(_sum(tf.square(mask * target))))
    if not 0 < norm < float("inf"):
        raise InputError(f"The features to match have squared norm {norm:g}, so there is nothing to invert; "
                         "choose another layer or image.")  # fmt: skip
    length = lambda code, mask: _sum(tf.square(mask * code))
    error = lambda image, features, data: length(features - data[0], data[1]) / length(*data)
    return _term("feature error", error, target, mask)


def caricature(target):
    """−⟨Φ(x), max(Φ0, 0)⟩ / ‖Φ0‖²: exaggerates what a layer sees (Mahendran & Vedaldi 2016, sec. 5)."""
    likeness = lambda image, features, data: -_sum(features * tf.nn.relu(data[0])) / _sum(tf.square(data[0]))
    return _term("caricature", likeness, target)


def class_score(directions):
    """−S = −logits · direction, S the unnormalised class score (Simonyan et al. 2013, eq. 1).
    directions: (1 or B, n), from `Network.direction`: a one-logit head has two signs."""
    return _term("class score", lambda image, features, data: -tf.reduce_sum(features * data[0], axis=1), directions)


def l2(*, mean=GREY):
    """‖x‖² per pixel value: the mean of x² over pixels and channels (Simonyan et al. 2013, eq. 1, up to N)."""
    square = lambda image, features, data: tf.reduce_mean(tf.square(_centred(image, mean)), axis=(1, 2, 3))
    return _term("L2", square, prior=True, mean=tuple(mean))


def alpha_norm(*, alpha=6.0, unit=1.0, mean=GREY):
    """‖x/unit‖_α^α, the α-th power of the norm, summed over values (Mahendran & Vedaldi 2015, eq. 3)."""
    power = lambda image, features, data: _sum(tf.abs(_centred(image, mean) / unit) ** alpha)
    return _term("alpha norm", power, prior=True, alpha=float(alpha), unit=float(unit), mean=tuple(mean))


def colour_norm(*, alpha=6.0, unit=80.0, mean=GREY):
    """Mean over pixels of (‖RGB‖/unit)^α (Mahendran & Vedaldi 2016, sec. 3.1: size-independent)."""
    square = lambda image: tf.reduce_sum(tf.square(_centred(image, mean) / unit), axis=-1)
    power = lambda image, features, data: tf.reduce_mean(square(image) ** (alpha / 2), axis=(1, 2))
    return _term("colour norm", power, prior=True, alpha=float(alpha), unit=float(unit), mean=tuple(mean))


def grey_world(*, unit=80.0, mean=GREY):
    """(‖RGB of the mean over pixels‖/unit)²: ties the mean colour alone and leaves contrast free (as a prior ours; the
    assumption is of colour constancy: Buchsbaum 1980, doi 10.1016/0016-0032(80)90058-7)."""
    square = lambda image, features, data: _sum(tf.square(tf.reduce_mean(_centred(image, mean), (1, 2)) / unit))
    return _term("grey world", square, prior=True, unit=float(unit), mean=tuple(mean))


# a depthwise convolution takes both differences at a third of the time of two subtractions and their gradients
_DIFFERENCES = np.float32([[[[-1, -1]] * 3, [[0, 1]] * 3], [[[1, 0]] * 3, [[0, 0]] * 3]])


def total_variation(*, beta=2.0, unit=1.0, colours=((1, 0, 0), (0, 1, 0), (0, 0, 1))):
    """Mean over pixels of Σ_c (dx² + dy²)^(β/2), in 255ths over `unit` (Mahendran & Vedaldi 2015, sec. 3), c along the
    columns of `colours` (3, 3), in RGB. Forward differences, 0 in the last row and column. InputError unless β > 0."""
    beta, across = number("beta", beta, low=0.01), np.linalg.inv(np.asarray(colours, float))

    def variation(image, features, data):
        scale = np.full((*image.shape[1:], 2), 255 / unit, np.float32)
        scale[-1, ..., 0] = scale[:, -1, :, 1] = 0  # padding the edges is slower, and so is its gradient
        coordinates = tf.einsum("bhwd,cd->bhwc", image, tf.constant(across, tf.float32))
        differences = tf.nn.depthwise_conv2d(coordinates, _DIFFERENCES, (1, 1, 1, 1), "SAME")
        square = tf.square(differences * scale.reshape(*image.shape[1:3], -1))  # (B, H, W, 3 · 2)
        if beta != 2.0:  # (square + 1e-6)^(β/2) - 1e-6^(β/2): finite slope at zero, and half a power's time
            square = tf.einsum("bhwk,kc->bhwc", square, np.repeat(np.eye(3, dtype=np.float32), 2, axis=0))
            square = 1e-6 ** (beta / 2) * tf.math.expm1(beta / 2 * tf.math.log1p(square / 1e-6))
        return tf.reduce_mean(tf.reduce_sum(square, axis=-1), axis=(1, 2))

    return _term("total variation", variation, prior=True, beta=beta, unit=float(unit), colours=tuple(across.ravel()))
