"""Checks of the exercises on inverted representations (Mahendran & Vedaldi 2015, 2016): e03, e07, e08, e09."""

import numpy as np

from viztools.examine import NotYet
from viztools.lessons.register import Lesson, close, compare, gradient, numbers, rng, tensor

INNER = (1, 2, 3)  # all axes of a batch but the first

e03 = Lesson("e03", hint="the size of every value, to the power of alpha, summed within each image, but not across.")


def _power(answer, x, alpha):
    return numbers(answer(tensor(x), alpha), x.shape[:1], "the prior")


@e03.check("random images")
def _(answer):
    for alpha in (6.0, 3.0, float(rng.uniform(2.2, 2.8))):
        x = rng.normal(0, 1, (3, 5, 6, 3))
        norm = np.array([np.linalg.norm(one.ravel(), alpha) for one in x])
        signed = np.sum(np.sign(x) * np.exp(alpha * np.log(np.abs(x))), axis=INNER)
        word = "sixth" if alpha == 6 else f"{alpha:.2g}-th"
        known = {
            f"this is the ℓ{alpha:.2g} norm, not its {word} power; leave the root out.": norm,
            "this is the mean over the values, not their sum; read the formula again.": norm**alpha / x[0].size,
            "the absolute value is missing: odd powers of negative values pull the sum down.": signed,
            "this is the squared ℓ2 norm, whatever alpha says; use alpha.": np.sum(x**2, axis=INNER),
            "alpha is ignored, it is always 6; use alpha.": np.sum(x**6, axis=INNER),
            "this is the square of the norm, not its α-th power; read the exponent again.": norm**2,
        }
        otherwise = f"for alpha = {alpha:.2g} it is not Σ |x|^α; try images of ones, whose sum is easy to tell."
        compare(_power(answer, x, alpha), norm**alpha, known, otherwise)


@e03.check("gradient by finite differences")
def _(answer):
    x, h = rng.normal(0, 1, (3, 5, 6, 3)), 1e-5
    slope = gradient(lambda z: answer(z, 4.0), x, "the prior")
    otherwise = "its gradient is not that of the formula; leave out rounding, clipping, stop_gradient."
    compare(slope, (np.abs(x + h) ** 4 - np.abs(x - h) ** 4) / (2 * h), {}, otherwise, tolerance=1e-2)


e07 = Lesson("e07", hint="two sums of squares: of the difference, and of the target.")


def _codes():
    return rng.gamma(0.5, size=(3, 4, 4, 5)), rng.gamma(0.5, size=(1, 4, 4, 5)) + 0.1


def _error(answer, code, target):
    return numbers(answer(tensor(code), tensor(target)), code.shape[:1], "the feature error")


@e07.check("random codes")
def _(answer):
    code, target = _codes()
    far, own = (np.array([np.linalg.norm(c) for c in codes]) for codes in (code - target, code))
    size, absolute = np.linalg.norm(target), np.abs(code - target).sum(axis=INNER) / np.abs(target).sum()
    known = {
        "the squares are missing: this is ‖Φ − Φ₀‖ / ‖Φ₀‖; square it.": far / size,
        "it is not divided by ‖Φ₀‖², so layers cannot be compared; divide.": far**2,
        "this is the mean of squares, not a share of ‖Φ₀‖².": far**2 / target.size,
        "it is divided by the norm, not by its square; square below the line as well.": far**2 / size,
        "it is divided by ‖Φ‖², which moves with the image; the target stays where it is.": (far / own) ** 2,
        "absolute values stand where squares belong; read the formula again.": absolute,
        "this is one minus the error; equal codes must give 0.": 1 - (far / size) ** 2,
    }
    otherwise = "it is not the formula's value; a code that is twice the target must give exactly 1."
    compare(_error(answer, code, target), (far / size) ** 2, known, otherwise)


@e07.check("zero and the target's scale")
def _(answer):
    code, target = _codes()
    if not np.allclose(_error(answer, target, target), 0, atol=1e-6):
        raise NotYet("equal codes must have error 0; what remains when Φ = Φ₀?")
    otherwise = "features nine times as large must give the same error; divide by what grows alike."
    compare(_error(answer, 9 * code, 9 * target), _error(answer, code, target), {}, otherwise)


@e07.check("gradient by finite differences")
def _(answer):
    (code, target), h = _codes(), 1e-4
    slope = gradient(lambda z: answer(z, tensor(target)), code, "the error")
    rise = ((code + h - target) ** 2 - (code - h - target) ** 2) / np.sum(target**2)
    otherwise = "its gradient is not that of the formula; let it flow through the difference."
    compare(slope, rise / (2 * h), {}, otherwise)


e08 = Lesson("e08", hint="slices shifted by one pixel give dx and dy; for the slope, move one value up and down by h.")


def _variation(answer, x, beta):
    return numbers(answer(tensor(x), beta), (), "the total variation")


def _differences(x, wrap=False):
    if wrap:
        return [np.roll(x, -1, axis) - x for axis in (1, 0)]
    return [np.diff(np.pad(x, [(0, a == 0), (0, a == 1), (0, 0)], "edge"), axis=a) for a in (1, 0)]


@e08.check("random image")
def _(variation, slope):
    for beta in (2.0, float(rng.uniform(1.2, 1.8)), 1.0):
        x = rng.normal(size=(6, 7, 3))
        length, wrapped = (np.hypot(*_differences(x, wrap)) for wrap in (False, True))
        across, down = (np.sum(np.abs(d) ** beta) for d in _differences(x))
        truth, inner = np.sum(length**beta), np.sum(length[:-1, :-1] ** beta)
        known = {
            "the last row and column meet the first: np.roll wraps round; repeat the border.": np.sum(wrapped**beta),
            "the last row and column are left out; one of their differences is zero, not both.": inner,
            "only differences along rows count; add those along columns.": across,
            "only differences along columns count; add those along rows.": down,
            "dx and dy are raised to β each by itself; add their squares first.": across + down,
            "the exponent is β, not β/2; β = 2 must give the plain sum of squares.": np.sum(length ** (2 * beta)),
            "the power β/2 is missing; try β = 1.": np.sum(length**2),
            "this is the mean, not the sum; read the formula again.": truth / x.size,
        }
        otherwise = f"for β = {beta:.2g} it is not the formula's value; try a ramp, each row 0, 1, 2, …"
        compare(_variation(variation, x, beta), truth, known, otherwise)


@e08.check("its gradient by finite differences")
def _(variation, slope):
    x, h = rng.normal(size=(4, 3, 3)), 1e-3
    energy = lambda z: sum(np.sum(d**2) for d in _differences(z))
    moves = h * np.eye(x.size).reshape(-1, *x.shape)
    rises = np.reshape([energy(x + move) - energy(x - move) for move in moves], x.shape)
    found = gradient(lambda z: variation(z, 2.0), x, "the total variation")
    compare(
        found, rises / (2 * h), {}, "its gradient is not that of the formula; leave out stop_gradient and rounding."
    )


@e08.check("the slope")
def _(variation, slope):
    x, h, place = rng.normal(size=(3, 4, 3)), float(rng.uniform(0.1, 0.3)), (int(rng.integers(3)), 2, 1)
    a, at, kept = float(rng.uniform(1, 2)), x[place], x.copy()
    cubic = lambda z: float(a * np.asarray(z, float)[place] ** 3 + np.sum(z))
    found = numbers(slope(cubic, x, place, h), (), "the slope")
    if not close(x, kept, 1e-9):
        raise NotYet("the image came back changed; work on a copy.")
    exact, one_sided = a * (3 * at**2 + h**2) + 1, lambda step: a * (3 * at**2 + 3 * at * step + step**2) + 1
    known = {
        "it is divided by h, but the two points are 2h apart; divide by that.": 2 * exact,
        "the slope has the wrong sign; up minus down.": -exact,
        "this is a one-sided difference; one step up, one step down.": one_sided(h),
        "this is a one-sided difference, downwards; one step up as well.": one_sided(-h),
        "it is not divided by the distance of the two points; divide.": 2 * h * exact,
    }
    otherwise = "it is not the central difference at that place; try f(x) = Σ x², whose slope you know."
    compare(found, exact, known, otherwise, tolerance=1e-6)


e09 = Lesson("e09", hint="draw two cells of a layer and what they see; then go from the last layer to the first.")


def _footprint(layers, cells):
    """How many places of a line of inputs reach a run of cells, found by following every connection."""
    seen = {*range(cells)}
    for width, apart in layers[::-1]:
        seen = {cell * apart + k for cell in seen for k in range(width)}
    return len(seen)


def _stack(depth):
    return [(int(rng.integers(3, 6)), 2) for _ in range(depth)]


def _side(answer, layers, cells):
    return numbers(answer(list(layers), cells), (), "the receptive field")


@e09.check("one layer")
def _(answer):
    ((kernel, stride),), cells = _stack(1), int(rng.integers(2, 7))
    known = {
        "`cells` is ignored; several cells see more than one.": kernel,
        "windows overlap, but yours lie side by side; draw two.": cells * kernel,
        "neighbouring cells lie `stride` pixels apart, not one; draw two.": kernel + cells - 1,
    }
    otherwise = f"{cells} cells, kernel {kernel}, stride {stride}: not what a drawing gives; draw it."
    compare(_side(answer, [(kernel, stride)], cells), _footprint([(kernel, stride)], cells), known, otherwise,
            tolerance=1e-6)  # fmt: skip


@e09.check("deep stacks")
def _(answer):
    for depth in (2, 3, 5):
        layers, cells = [(4, 3), *_stack(depth - 1)], int(rng.choice((1, 3)))  # so that no two mistakes agree
        kernels, strides = np.transpose(layers)
        own = 1 + np.sum((kernels - 1) * np.cumprod(strides)) + (cells - 1) * np.prod(strides)
        known = {
            "strides are not multiplied up; a cell of the second layer is a stride wide.": cells + np.sum(kernels - 1),
            "the layers are taken in the wrong order; begin at the cells.": _footprint(layers[::-1], cells),
            "a layer's own stride was counted for its own kernel; it counts for those above.": own,
            "the kernels are multiplied; each adds, times the strides below it.": np.prod(kernels),
            "only the last layer was counted; take all of them.": _footprint(layers[-1:], cells),
        }
        otherwise = f"(kernel, stride) {layers}, cells {cells}: following every connection gives another number."
        compare(_side(answer, layers, cells), _footprint(layers, cells), known, otherwise, tolerance=1e-6)
