"""Checks of the exercises on inverted representations (Mahendran & Vedaldi 2015, 2016): e03, e07, e08, e09."""

import numpy as np

from vizlib.backend import tf
from vizlib.check import NotYet
from viztools.lessons.register import close, compare, gradient, lesson, numbers, rng, tensor

e03 = lesson("e03", hint="the size of every value, to the power of alpha, summed within each image, but not across.")


def _images():
    return rng.normal(0, 1, (3, 5, 6, 3))


def _power(answer, x, alpha):
    return numbers(answer(tensor(x), alpha), x.shape[:1], "the prior")


@e03.check("random images")
def _(answer):
    for alpha in (6.0, 3.0, float(rng.uniform(2.2, 2.8))):
        x = _images()
        # by the definition of the vector norm, image by image
        norm = np.array([np.linalg.norm(one.ravel(), alpha) for one in x])
        signed = np.array([np.sum(np.sign(one) * np.exp(alpha * np.log(np.abs(one)))) for one in x])
        compare(_power(answer, x, alpha), norm**alpha, {
            f"this is the ℓ{alpha:g} norm, not its {'sixth' if alpha == 6 else f'{alpha:g}th'} power. Try: leave the "
            "root out.": norm,
            "this is the mean over the values, not their sum. Try: read the formula again.":
                norm**alpha / x[0].size,
            "the absolute value is missing: odd powers of negative values pull the sum down. Try: sizes first.": signed,
            "this is the squared L2 norm, whatever alpha says. Try: use alpha.": np.sum(x**2, axis=(1, 2, 3)),
            "alpha is ignored, it is always 6. Try: use alpha.": np.sum(x**6, axis=(1, 2, 3)),
            "this is the square of the norm, not its α-th power. Try: read the exponent again.": norm**2,
        }, otherwise=f"for alpha = {alpha:.3g} it is not Σ |x|^α. Try: an image of ones; the sum is easy to tell.")  # fmt: skip


@e03.check("twice the contrast")
def _(answer):
    x, alpha = _images(), float(rng.uniform(2, 5))
    compare(_power(answer, 2 * x, alpha), 2**alpha * _power(answer, x, alpha),
            otherwise="twice the contrast must cost 2^α times as much. Try: is a constant added, or a root taken?")  # fmt: skip


@e03.check("gradient by finite differences")
def _(answer):
    x, h = _images() + 0.1, 1e-5
    slope = gradient(lambda z: answer(z, 4.0), x, "the prior")
    compare(slope, (np.abs(x + h) ** 4 - np.abs(x - h) ** 4) / (2 * h), tolerance=1e-2,
            otherwise="its gradient is not that of the formula. Try: leave out rounding, clipping, stop_gradient.")  # fmt: skip


e07 = lesson(
    "e07", hint="two sums of squares, one of the difference and one of the target, each over an image's values."
)


def _codes():
    return rng.gamma(0.5, size=(3, 4, 4, 5)), rng.gamma(0.5, size=(1, 4, 4, 5)) + 0.1


def _error(answer, code, target):
    return numbers(answer(tensor(code), tensor(target)), code.shape[:1], "the feature error")


@e07.check("random codes")
def _(answer):
    code, target = _codes()
    far = np.array([np.linalg.norm(c - target[0]) for c in code])
    size, own = np.linalg.norm(target), np.array([np.linalg.norm(c) for c in code])
    compare(_error(answer, code, target), (far / size) ** 2, {
        "the squares are missing: this is ‖Φ − Φ₀‖ / ‖Φ₀‖. Try: square it.": far / size,
        "it is not divided by ‖Φ₀‖², so layers cannot be compared. Try: divide.": far**2,
        "this is the mean of squares, not divided by ‖Φ₀‖². Try: divide by the target's own.":
            far**2 / target.size,
        "it is divided by the norm, not by its square. Try: square below the line as well.": far**2 / size,
        "it is divided by ‖Φ‖², which moves with the image. Try: the target's norm stays where it is.":
            (far / own) ** 2,
        "absolute values stand where squares belong. Try: read the formula again.":
            np.abs(code - target).sum(axis=(1, 2, 3)) / np.abs(target).sum(),
        "this is one minus the error. Try: equal codes must give 0.": 1 - (far / size) ** 2,
    }, otherwise="it is not the formula's value. Try: a code that is twice the target must give exactly 1.")  # fmt: skip


@e07.check("zero, and the target's scale")
def _(answer):
    code, target = _codes()
    if not np.allclose(_error(answer, target, target), 0, atol=1e-6):
        raise NotYet("equal codes must have error 0. Try: what remains when Φ = Φ₀?")
    compare(_error(answer, 9 * code, 9 * target), _error(answer, code, target),
            otherwise="features nine times as large must give the same error. Try: divide by what grows alike.")  # fmt: skip


@e07.check("gradient by finite differences")
def _(answer):
    (code, target), h = _codes(), 1e-4
    slope = gradient(lambda z: answer(z, tensor(target)), code, "the error")
    rise = ((code + h - target) ** 2 - (code - h - target) ** 2) / np.sum(target**2)
    compare(slope, rise / (2 * h),
            otherwise="its gradient is not that of the formula. Try: let it flow through the difference only.")  # fmt: skip


e08 = lesson("e08", hint="slices shifted by one pixel give dx and dy; for the slope, move one value up and down by h.")


def _variation(answer, x, beta):
    return float(numbers(answer(tensor(x), beta), (), "the total variation"))


def _differences(x, wrap=False):
    if wrap:
        return [np.roll(x, -1, axis) - x for axis in (1, 0)]
    return [np.diff(np.pad(x, [(0, a == 0), (0, a == 1), (0, 0)], "edge"), axis=a) for a in (1, 0)]


@e08.check("random image")
def _(variation, slope):
    for beta in (2.0, 1.0, float(rng.uniform(1.2, 1.8))):
        x = rng.normal(size=(6, 7, 3))
        dx, dy = _differences(x)
        truth = np.sum(np.hypot(dx, dy) ** beta)
        wrapped = np.sum(np.hypot(*_differences(x, wrap=True)) ** beta)
        inner = np.sum(np.hypot(dx, dy)[:-1, :-1] ** beta)
        compare(_variation(variation, x, beta), truth, {
            "the last row and column are compared with the first: np.roll wraps round. Try: repeat the border.": wrapped,
            "the last row and column are left out. Try: there one of the two differences is zero, the other is not.":
                inner,
            "only differences along rows count. Try: add those along columns.": np.sum(np.abs(dx) ** beta),
            "only differences along columns count. Try: add those along rows.": np.sum(np.abs(dy) ** beta),
            "dx and dy are raised to β each by itself. Try: add their squares first, then take the power β/2.":
                np.sum(np.abs(dx) ** beta + np.abs(dy) ** beta),
            "the exponent is β, not β/2. Try: for β = 2 it must be the plain sum of squares.":
                np.sum((dx**2 + dy**2) ** beta),
            "the power β/2 is missing. Try: β = 1.": np.sum(dx**2 + dy**2),
            "this is the mean, not the sum. Try: read the formula again.": truth / x.size,
            "this is the sum over the mean of a pixel's channels. Try: sum over channels as well.": truth / 3,
        }, otherwise=f"for β = {beta:.3g} it is not the formula's value. Try: a ramp, each row 0, 1, 2, …")  # fmt: skip


@e08.check("flat image and ramp")
def _(variation, slope):
    height, width, step = 5, 8, float(rng.uniform(0.5, 2))
    ramp = np.tile(step * np.arange(width)[None, :, None], (height, 1, 3))
    for x, name in ((ramp, "across"), (ramp.transpose(1, 0, 2), "down")):
        if not close(_variation(variation, x, 2.0), 3 * height * (width - 1) * step**2):
            raise NotYet(f"a ramp {name} has {height} × {width - 1} equal differences a channel. Try: count yours.")
    if abs(_variation(variation, np.full((4, 4, 3), step), 2.0)) > 1e-3:
        raise NotYet("a flat image must have no variation. Try: what do you add?")


@e08.check("its gradient")
def _(variation, slope):
    x, h, total = rng.normal(size=(5, 4, 3)), 1e-3, 0.0
    found = gradient(lambda z: variation(z, 2.0), x, "the total variation")
    for place in [tuple(rng.integers(n) for n in x.shape) for _ in range(6)]:
        up, down = x.copy(), x.copy()
        up[place] += h
        down[place] -= h
        energy = [sum(np.sum(d**2) for d in _differences(one)) for one in (up, down)]
        total = max(total, abs(found[place] - (energy[0] - energy[1]) / (2 * h)))
    if total > 1e-2 * np.abs(found).max():
        raise NotYet("its value is right but its gradient is not. Try: leave out stop_gradient and rounding.")


@e08.check("the slope")
def _(variation, slope):
    x, h, place = rng.normal(size=(3, 4, 3)), float(rng.uniform(0.1, 0.3)), (int(rng.integers(3)), 2, 1)
    a, kept = float(rng.uniform(1, 2)), x.copy()
    cubic = lambda z: float(a * np.asarray(z, float)[place] ** 3 + np.sum(np.asarray(z, float)))
    found = float(numbers(slope(cubic, x, place, h), (), "the slope"))
    if not close(x, kept, 1e-9):
        raise NotYet("the image came back changed. Try: work on x.copy().")
    at = x[place]
    exact = a * (3 * at**2 + h**2) + 1
    compare(found, exact, {
        "it is divided by h, but the two points are 2h apart. Try: divide by that.": 2 * exact,
        "the slope has the wrong sign. Try: up minus down.": -exact,
        "this is a one-sided difference. Try: one step up, one step down.": a * (3 * at**2 + 3 * at * h + h**2) + 1,
        "this is a one-sided difference, downwards. Try: one step up as well.":
            a * (3 * at**2 - 3 * at * h + h**2) + 1,
        "it is not divided by the distance of the two points. Try: divide.": 2 * h * exact,
    }, otherwise="it is not the central difference at that place. Try: f(x) = Σ x², whose slope you know.",
        tolerance=1e-6)  # fmt: skip


e09 = lesson(
    "e09", hint="draw two cells of one layer and the inputs they see; then go from the last layer to the first."
)


def _footprint(layers, cells):
    """Which places of a line of inputs reach a run of cells, found by following every connection."""
    seen = np.ones(cells, bool)
    for kernel, stride in reversed(layers):
        below = np.zeros((len(seen) - 1) * stride + kernel, bool)
        for at in np.flatnonzero(seen):
            below[at * stride : at * stride + kernel] = True
        seen = below
    return len(seen)


def _stack(depth):
    return [(int(rng.integers(3, 6)), int(rng.integers(1, 4))) for _ in range(depth)]


def _side(answer, layers, cells):
    return numbers(answer(list(layers), cells), (), "the receptive field")


@e09.check("one layer")
def _(answer):
    (kernel, stride), cells = _stack(1)[0], int(rng.integers(2, 7))
    compare(_side(answer, [(kernel, stride)], 1), kernel, {
        "one cell of one layer sees just its kernel; strides matter from the second cell on. Try: count again.":
            kernel * stride}, otherwise="one cell of one layer sees as many pixels as its kernel is wide. Try: start "
        "from one cell.", tolerance=1e-6)  # fmt: skip
    compare(_side(answer, [(kernel, stride)], cells), _footprint([(kernel, stride)], cells), {
        "`cells` is ignored. Try: several cells see more than one.": kernel,
        "cells lie `stride` apart and their windows overlap; yours lie side by side. Try: draw two.": cells * kernel,
        "neighbouring cells lie `stride` pixels apart, not one. Try: draw two cells.": kernel + cells - 1,
    }, otherwise=f"{cells} cells, kernel {kernel}, stride {stride}: not what a drawing gives. Try: draw it.",
        tolerance=1e-6)  # fmt: skip


@e09.check("deep stacks")
def _(answer):
    for depth in (2, 3, 6):
        layers, cells = _stack(depth), int(rng.integers(1, 6))
        layers[0] = (layers[0][0], int(rng.integers(2, 4)))
        kernels = np.array([k for k, _ in layers])
        strides = np.array([s for _, s in layers])
        compare(_side(answer, layers, cells), _footprint(layers, cells), {
            "strides are not multiplied up. Try: a pixel of the second layer is as wide as the first one's stride.":
                cells + np.sum(kernels - 1),
            "the layers are taken in the wrong order. Try: begin with the one nearest the cells.":
                _footprint(layers[::-1], cells),
            "a layer's own stride was counted for its own kernel. Try: it counts for the layers above only.":
                1 + np.sum((kernels - 1) * np.cumprod(strides)) + (cells - 1) * np.prod(strides),
            "the kernels are multiplied. Try: each adds, times the strides below it.": np.prod(kernels),
            "only the last layer was counted. Try: all of them, one after the other.":
                _footprint(layers[-1:], cells),
        }, otherwise=f"{depth} layers (kernel, stride) {layers}, {cells} cells: not what following every connection "
            "gives. Try: the first two layers on paper.", tolerance=1e-6)  # fmt: skip
