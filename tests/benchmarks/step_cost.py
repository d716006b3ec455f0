"""What a step of the whole loop costs, beside the bare forward-and-gradient and beside a plain eager loop.

    python tests/benchmarks/step_cost.py [--rounds 5]

bare: the cut network and its gradient, compiled, in the loop's precision; ours: priors, canvas and optimiser
included, and a float32 report every 20 steps; eager: float32, target features computed anew in every step, nothing
compiled. Interleaved; fastest and median, since on a shared machine either may fall into a slow spell.
Aim: ours at most 1.15 × bare; the nine layers' steps together no longer than 200 eager ones.
"""

import argparse
import time

import numpy as np

from vizlib import images, inversion, networks, recipes
from vizlib.backend import tf

LAYERS = [f"block{b}_conv{c}" for b in (3, 4, 5) for c in (1, 2, 3)]


def bare(network, photo, layer):
    """A function of no arguments that does one forward pass and one gradient."""
    cut = network.features(layer, precision=networks.fast_precision(network))
    target = inversion.encode(network, photo, layer)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(tf.cast(cut(x, training=False), tf.float32) - target))
        return tape.gradient(loss, x)

    x = tf.constant(photo[None])
    return lambda: step(x).numpy()


def eager(network, photo, layer):
    """One step of a loop as one would first write it."""
    cut, x, target = network.features(layer), tf.Variable(photo[None] * 0.5), tf.constant(photo[None])

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(cut(x, training=False) - cut(target, training=False)))
        x.assign_sub(1e-12 * tape.gradient(loss, x))

    return step


def ours(network, photo, layer, steps):
    """Seconds a step of the loop itself, `steps` at a time."""
    recipe = recipes.for_layer("pyramid", network, layer, size=photo.shape[0])
    *_, before, after = inversion.invert(network, photo, layer, recipe=recipe, steps=2 * steps, every=steps)
    return (after.seconds - before.seconds) / steps


def timed(step):
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    rounds, layers = parser.parse_args().rounds, parser.parse_args().layers
    network, photo = networks.load("vgg16"), images.load("chelsea", size=224)
    total = 0.0
    for layer in layers:
        one = bare(network, photo, layer)
        one()
        ours(network, photo, layer, 2)
        pairs = [(np.median([timed(one) for _ in range(20)]), ours(network, photo, layer, 20)) for _ in range(rounds)]
        first, second = (np.median(column) * 1000 for column in zip(*pairs, strict=True))
        least, ours_least = np.min(pairs, axis=0) * 1000
        total += second
        print(f"{layer}: median: bare {first:.0f} ms, ours {second:.0f} ms, ratio {second / first:.2f}; fastest: bare "
              f"{least:.0f} ms, ours {ours_least:.0f} ms, ratio {ours_least / least:.2f}", flush=True)  # fmt: skip
    old = eager(network, photo, layers[-1])
    old()
    slow = np.median([timed(old) for _ in range(rounds)])
    steps = recipes.for_layer("pyramid", network, layers[-1], size=224).steps
    print(f"{layers[-1]}, eager: {slow * 1000:.0f} ms; 200 such steps {200 * slow:.0f} s")
    print(f"all {len(layers)} layers, {steps} steps each: {steps * total / 1000:.0f} s")


if __name__ == "__main__":
    main()
