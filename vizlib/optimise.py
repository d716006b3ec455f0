"""The loop, once: a generator of snapshots. It is compiled, runs many steps a call, and knows no screen and no paper.

    for snapshot in optimise.run(cut, objective, recipe, size=224): ...     # each holds a finished image; `break` stops

Strength, rates, targets and the number of steps are tensors, so turning a knob never compiles anything again."""

import io
import math
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vizlib import files
from vizlib.backend import keras, tf
from vizlib.errors import InputError
from vizlib.parameters import number, positive_integer

CHUNK, KEEP = 0.5, 5.0  # seconds: about the longest compiled call, and the longest between two states on disk


@dataclass(frozen=True)
class Snapshot:
    """What a run shows: `images` (B, H, W, 3) are copies, `values` maps each term's name to its weighted values (B,).
    Values are of these very images, in float32, without views and fading. `image` is the first, `terms` are the values'
    means over the batch, and `loss` their sum."""

    step: int
    steps: int
    images: np.ndarray = field(repr=False)
    values: dict = field(repr=False)
    seconds: float

    image = property(lambda self: self.images[0])
    terms = property(lambda self: {name: float(np.mean(v)) for name, v in self.values.items()})
    loss = property(lambda self: sum(self.terms.values()))


class ForgetfulAdagrad(keras.optimizers.Optimizer):
    """G ← 0.9 G + g², m ← 0.9 m − g / (1/rate + √G), x ← x + m (Mahendran & Vedaldi 2016, sec. 3.2)."""

    def build(self, variables):
        super().build(variables)
        self.squares, self.moves = (self.add_optimizer_variables(variables, n) for n in ("squares", "momentum"))

    def update_step(self, gradient, variable, learning_rate):
        squares, moves = (s[self._get_variable_index(variable)] for s in (self.squares, self.moves))
        self.assign(squares, 0.9 * squares + gradient * gradient)
        self.assign(moves, 0.9 * moves - gradient / (1.0 / learning_rate + keras.ops.sqrt(squares)))
        self.assign_add(variable, moves)


class Loop:
    """Canvas, optimiser state and the two compiled functions of one run; reused by later runs of the same shape."""

    def __init__(self, fast, exact, objective, recipe, parameters):
        self.fast, self.exact, self.objective, self.recipe = fast, exact, objective, recipe
        self.parameters = [keras.Variable(p, trainable=True) for p in parameters]
        name, options = recipe.optimizer
        make = ForgetfulAdagrad if name == "ForgetfulAdagrad" else getattr(keras.optimizers, name)
        self.optimizer = make(learning_rate=1.0, **dict(options))
        self.optimizer.build(self.parameters)
        self.state = self.parameters + self.optimizer.variables
        # given signatures, so that schedules of another length compile nothing again
        knobs = tf.nest.map_structure(tf.TensorSpec.from_tensor, (objective.weights(), objective.data))
        count, seeds = tf.TensorSpec((), tf.int32), tf.TensorSpec((parameters[0].shape[0],), tf.int32)
        signature = (count, count, seeds, [tf.TensorSpec((None,))] * 4, *knobs)
        # kept out of the loop's own cyclic graph, in which oneDNN misses the pooling's gradient: sixteen times slower
        self.gradients = tf.function(self._gradients, experimental_attributes={"_noinline": True})
        self.advance = tf.function(self._advance, input_signature=signature)
        self.report = tf.function(self._report, input_signature=knobs)

    def reset(self, parameters):
        blank = [tf.zeros_like(v) for v in self.optimizer.variables]
        for variable, value in zip(self.state, [*parameters, *blank], strict=True):
            variable.assign(value)

    def _advance(self, first, last, seeds, schedule, weights, data):
        """Steps first … last − 1; gives (steps done, whether all was finite, the last gradient's largest entry)."""

        def body(step, finite, largest):
            faded = tf.where([t.prior for t in self.objective.terms], weights * schedule[3][step], weights)
            gradients = self.gradients(seeds, step, schedule[1][step], faded, data)
            largest = tf.reduce_max([tf.reduce_max(tf.abs(g)) for g in gradients])
            finite = tf.math.is_finite(largest)
            tf.cond(finite, lambda: self._apply(gradients, schedule[0][step], schedule[2][step]), lambda: False)
            return step + tf.cast(finite, tf.int32), finite, largest

        return tf.while_loop(lambda step, finite, _: finite & (step < last), body, (first, True, 1.0))

    def _gradients(self, seeds, step, amplitude, weights, data):
        values = [v.value for v in self.parameters]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            images = self.recipe.canvas.image(values)
            view, counters = images, tf.stack([seeds, tf.fill(tf.shape(seeds), step)], axis=1)
            for transform in self.recipe.views:
                view = transform(view, counters, amplitude)
            features = tf.cast(self.fast(view, training=False), tf.float32)
            # a sum over the batch, not a mean: each image moves as if it ran alone
            loss = tf.reduce_sum(self.objective.values(images, features, weights=weights, data=data))
        return tape.gradient(loss, values)

    def _apply(self, gradients, rate, keep):
        for slot in self.optimizer.variables[2:] if self.recipe.rest else ():
            slot.assign(slot * keep)
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(gradients, self.parameters)
        project = getattr(self.recipe.canvas, "project", lambda parameters: parameters)
        for variable, value in zip(self.parameters, project(self.parameters), strict=True):
            variable.assign(value)
        return True

    def _report(self, weights, data):
        """The images as they would be saved, clipped to [0, 1], and the weighted values (n_terms, B) at them."""
        images = self.recipe.canvas.image([v.value for v in self.parameters])
        low, high = self.recipe.margin // 2, images.shape[1] - (self.recipe.margin + 1) // 2
        images = tf.clip_by_value(images[:, low:high, low:high], 0.0, 1.0)
        features = tf.cast(self.exact(images, training=False), tf.float32)
        return images, self.objective.values(images, features, weights=weights, data=data)


_idle = {}  # loops of finished runs by what they compute, so that a second run need not compile


def run(cut, objective, recipe, *, size, seeds=(0,), steps=None, strength=1.0, every=20, start=None, fast=None,
        keep=None, stop=None):  # fmt: skip
    """Optimise a batch of images, one a seed; a generator of Snapshots: step 0, every `every`-th, and the last.
    cut: keras.Model from images to what the objective's terms look at (float32, for reports); fast: the same in
    another precision, for the steps. strength: factor on the recipe's priors. start: images (B, H, W, 3) to begin
    from, instead of noise. keep: folder for the run's state: the same run, called again after it was stopped or killed,
    gives the snapshots it had and goes on, at most about KEEP seconds back, to the very same image. stop: a
    threading.Event, looked at between compiled calls; once set, the run ends with a snapshot there. InputError for
    impossible numbers or a zero gradient; a loss that is not finite ends the run, with a warning, at the best image."""
    steps = positive_integer("iterations", recipe.steps if steps is None else steps)
    every, strength = positive_integer("every", every), number("strength", strength)
    objective, fast = objective + recipe.priors, fast or cut
    parameters = _start(recipe, seeds, size, start)
    shapes = tuple(p.shape for p in parameters) + tuple(d.shape for t in objective.data for d in t)
    key = (id(fast), id(cut), objective.terms, recipe.canvas, recipe.optimizer, recipe.views, recipe.rest, shapes)
    # popping is atomic: of two runs at once, one gets the loop and the other makes its own
    loop = _idle.pop(key, None) or Loop(fast, cut, objective, recipe, parameters)
    loop.reset(parameters)
    path = keep and Path(keep) / f"{_fingerprint(loop, objective, recipe, tuple(seeds), steps, every, strength)}.npz"
    try:
        yield from _snapshots(loop, objective, recipe, steps, every, seeds, strength, path, stop)
    finally:
        _idle[key] = loop
        if len(_idle) > 6:
            _idle.pop(next(iter(_idle)))


def _fingerprint(loop, objective, recipe, *numbers):
    """Of everything that decides a run's images: weights, layers, terms, recipe, start and numbers."""
    layers = [y.get_config() for y in loop.exact.layers] + [y.compute_dtype for y in loop.fast.layers]
    terms = [(t.name, t.options, t.weight) for t in objective.terms]
    arrays = [*loop.exact.get_weights(), *(d.numpy() for t in objective.data for d in t)]
    arrays += [np.asarray(v) for v in loop.parameters]
    return files.fingerprint(layers, terms, replace(recipe, priors=()), numbers, tf.__version__, *arrays)


def _start(recipe, seeds, size, images):
    """The parameters to begin with: noise, or images with a mirrored frame where views need a larger canvas."""
    if images is None:
        return recipe.canvas.start(seeds, size + recipe.margin)
    frame, images = recipe.margin // 2, np.broadcast_to(images, (len(seeds), size, size, 3))
    return recipe.canvas.encode(np.pad(images, [(0, 0), *[(frame, recipe.margin - frame)] * 2, (0, 0)], "reflect"))


def _snapshots(loop, objective, recipe, steps, every, seeds, strength, path, stop):
    weights, data = objective.weights(strength=strength), objective.data
    schedule = [tf.constant(values) for values in recipe.schedules(steps)]
    history, step, spent = _resumed(path, loop, objective, steps)
    inputs, begun = (tf.constant(seeds, tf.int32), schedule, weights, data), time.perf_counter() - spent

    def snapshot():
        images, values = (t.numpy() for t in loop.report(weights, data))
        values = dict(zip(objective.names, values, strict=True))
        return Snapshot(step, steps, images, values, time.perf_counter() - begun)

    if not history:
        history = [snapshot()]
        _keep(path, loop, step, 0.0, history)  # now, so that an unwritable folder is told before a minute is spent
    yield from list(history)
    while step < steps and not (stop and stop.is_set()):
        goal, kept = min(step + every - step % every, steps), time.perf_counter()
        for done in _chunks(loop, step, goal, inputs, stop):
            step, finite, largest = done
            if finite and step < goal and time.perf_counter() - kept > KEEP:
                kept = time.perf_counter()
                _keep(path, loop, step, kept - begun, history)
        now = snapshot()
        if finite and largest == 0 and now.loss >= history[0].loss:
            raise InputError(f"The gradient is zero at step {step}: what is asked for does not depend on the image, or "
                             "the start already has it; choose another layer, class, seed or start.")  # fmt: skip
        if not (finite and math.isfinite(now.loss)):
            warnings.warn(f"The loss was not finite at step {step}; the best image so far is kept: try a smaller "
                          "strength.", stacklevel=3)  # fmt: skip
            yield min(history, key=lambda s: s.loss)
            return
        # without a file to fill, only the first and the best are ever asked for again
        history = [*history, now] if path else [history[0], min(history[-1], now, key=lambda s: s.loss)]
        _keep(path, loop, step, now.seconds, history)
        yield now


def _chunks(loop, step, goal, inputs, stop):
    """(step, finite, largest) after each compiled call of about CHUNK seconds, so that Ctrl-C is heard."""
    chunk, finite = 1, True
    while step < goal and finite:
        before = time.perf_counter()
        done, finite, largest = loop.advance(tf.constant(step), tf.constant(min(step + chunk, goal)), *inputs)
        step, finite = int(done), bool(finite)
        chunk = max(1, min(2 * chunk, int(chunk * CHUNK / (time.perf_counter() - before))))
        yield step, finite, float(largest)
        if stop and stop.is_set():
            return


def _keep(path, loop, step, seconds, history):
    """The state after `step` and every snapshot so far, in one file, if one is wanted."""
    if not path:
        return
    columns = {name: np.stack([getattr(s, name) for s in history]) for name in ("step", "seconds", "images")}
    values = np.stack([list(s.values.values()) for s in history])
    state = {f"v{k}": np.asarray(v) for k, v in enumerate(loop.state)}
    np.savez(stream := io.BytesIO(), at=step, spent=seconds, values=values, **columns, **state)
    files.write(path, stream.getvalue())


def _resumed(path, loop, objective, steps):
    """(snapshots, step, seconds) of a run that was stopped, its state put back; ([], 0, 0.0) where there is none."""
    file = files.read_arrays(path) if path else {}
    if not file:
        return [], 0, 0.0
    for k, variable in enumerate(loop.state):
        variable.assign(file[f"v{k}"])
    values = [dict(zip(objective.names, v, strict=True)) for v in file["values"]]
    columns = zip(file["step"].tolist(), file["images"], values, file["seconds"].tolist(), strict=True)
    return [Snapshot(k, steps, *rest) for k, *rest in columns], int(file["at"]), float(file["spent"])


def last(snapshots):
    """The final snapshot of a run; Ctrl-C stops the run and gives the one reached."""
    snapshot = None
    try:
        for snapshot in snapshots:  # noqa: B007 - the last one is wanted
            pass
    except KeyboardInterrupt:
        warnings.warn(f"Stopped at step {snapshot.step} of {snapshot.steps}." if snapshot else "Stopped.", stacklevel=2)
    return snapshot
