"""Where checks are entered, and what they share: ask for an answer, compare it, tell a known mistake by its name."""

import traceback

import numpy as np

from vizlib.backend import tf
from viztools.examine import NotYet

LESSONS = {}  # name → Lesson
rng = np.random.default_rng()  # from the system's entropy: no two checks see the same numbers


class Lesson:
    """An exercise by its name: a hint, one sentence on where to begin, and (title, check) in order."""

    def __init__(self, name, *, hint):
        self.hint, self.checks = hint, []
        LESSONS[name] = self

    def check(self, title):
        """A decorator that enters a function of the student's functions as the next check."""
        return lambda function: self.checks.append((title, function)) or function

    def examine(self, functions, found):
        """Put what is wrong first, as a sentence, or nothing where all is right; what never ends changes nothing."""
        for number, (title, check) in enumerate(self.checks, 1):
            try:
                check(*functions)
            except NotYet as wrong:
                found[0] = f"check {number} of {len(self.checks)}, {title}: {wrong}"
                return
            except NotImplementedError:
                found[0] = f"nothing is written yet; a hint: {self.hint}"
                return
            except (Exception, SystemExit) as error:
                found[0] = f"check {number}, {title}: {_stopped(error, functions)} Call it yourself, in a new cell."
                return
        found[0] = ""


def _stopped(error, functions):
    files = {getattr(getattr(f, "__code__", None), "co_filename", None) for f in functions}
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    where = f" at `{lines[-1]}`" if lines and lines[-1] else ""
    return f"your code stopped{where} with {type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}."


def tensor(values):
    """Values as TensorFlow's float32, as students' functions get them."""
    return tf.constant(np.asarray(values), tf.float32)


def numbers(found, shape, what):
    """A student's answer as float64 of this shape; NotYet for nothing, for another shape, or for what is not finite."""
    if found is None:
        raise NotYet(f"{what} came back as nothing; end your function with return.")
    try:
        array = np.asarray(found, float)
    except (TypeError, ValueError):
        raise NotYet(f"{what} is no array of numbers but {type(found).__name__}; print it in a cell.") from None
    if array.shape != tuple(shape):
        asked = f"{what} has shape {array.shape}, wanted is {tuple(shape)}"
        raise NotYet(f"{asked}; read again what the text in the function says it returns.")
    if not np.isfinite(array).all():
        raise NotYet(f"{what} is not finite everywhere; look for an overflow or a division by zero.")
    return array


def close(a, b, tolerance=1e-3):
    """Whether two arrays are equal but for this share of the second's largest value."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return a.shape == b.shape and bool(np.abs(a - b).max() <= tolerance * (np.abs(b).max() + 1e-9))


def compare(found, truth, mistakes, otherwise, *, tolerance=1e-3):
    """NotYet unless found equals truth: with the sentence of the mistake that gives what was found, if one does.
    mistakes: {sentence: array}; otherwise: the sentence where none fits."""
    if close(found, truth, tolerance):
        return
    fits = {s: np.abs(found - np.asarray(a)).max() for s, a in mistakes.items() if close(found, a, tolerance)}
    raise NotYet(min(fits, key=fits.get, default=otherwise))


def gradient(function, x, what):
    """∂Σ function(x) / ∂x by TensorFlow; NotYet where it cannot follow the student's code."""
    x = tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
        total = tf.reduce_sum(value) if tf.is_tensor(value) else None
    slope = None if total is None else tape.gradient(total, x)
    if slope is None:
        raise NotYet(f"the gradient of {what} is lost; use tf functions and plain + - * / only, no NumPy.")
    return numbers(slope, x.shape, f"the gradient of {what}")
