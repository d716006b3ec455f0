"""What a step of a class image costs, side by side with xplique and tf-keras-vis, on MobileNetV2.

    pip install xplique tf-keras-vis        # whichever of them; those that are missing are left out
    python tests/benchmarks/class_image_speed.py [--size 224] [--steps 20] [--rounds 5]

All maximise the same logit of the same Keras model with random weights, one image, each as its documentation says:
xplique as it is called there (on a canvas 512 px wide, whatever the network takes) and on a canvas of the network's
size, Fourier or pixels, with its standard views and with none; tf-keras-vis with its own jitter, rotation and priors,
and with none. Ours with what a run brings: views, priors, and a float32 report every `--steps`. In turns; the first
step of each run, which compiles, does not count. Fastest and median of the rounds.
Aim: ours at least 2 × faster than the fastest of either that does comparable work.
"""

import argparse
import importlib.util
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from vizlib import class_image, networks
from vizlib.backend import keras

CLASS = 7


def ours(model, recipe):
    """Each tool: a function of a number of steps that gives the seconds of one."""
    network, size = networks.wrap(model, preprocessing="0-1"), model.input_shape[1]
    # a black image, which simonyan2013 starts from here, has no gradient where all biases are zero
    start = np.random.default_rng(0).random((1, size, size, 3), np.float32) if recipe == "simonyan2013" else None

    def step(steps):
        run = class_image.maximise(network, CLASS, recipe=recipe, steps=2 * steps, every=steps, start=start)
        *_, before, after = run
        return (after.seconds - before.seconds) / steps

    return step


def timed(run, optimizer, steps):
    """Seconds between two steps of a loop that calls its optimiser once in each."""
    stamps, apply = [], optimizer.apply_gradients

    def stamped(*arguments, **options):
        result = apply(*arguments, **options)
        stamps.append(time.perf_counter())
        return result

    optimizer.apply_gradients = stamped
    run(steps + 1, optimizer)
    return (stamps[-1] - stamps[0]) / steps


def xplique(model, **options):
    from xplique.features_visualizations import Objective, optimize

    objective, shape = Objective.neuron(model, -1, CLASS), model.input_shape[1:3]
    run = lambda n, optimizer: optimize(objective, optimizer, n, **{"custom_shape": shape, **options})
    return lambda steps: timed(run, keras.optimizers.Adam(0.05), steps)


def tf_keras_vis(model, **options):
    from tf_keras_vis.activation_maximization import ActivationMaximization

    explainer, score = ActivationMaximization(model, clone=True), lambda logits: logits[:, CLASS]
    run = lambda n, optimizer: explainer(score, steps=n, optimizer=optimizer, input_range=(0, 1), **options)
    return lambda steps: timed(run, keras.optimizers.RMSprop(1.0, 0.999), steps)


def tools(model):
    """Name → function: vizlib's and those of every other that is installed."""
    found = {f"vizlib, {recipe}": ours(model, recipe) for recipe in ("distill2017", "simonyan2013")}
    if importlib.util.find_spec("xplique"):
        found["xplique, as documented"] = xplique(model, custom_shape=(512, 512))
        found["xplique, Fourier, views"] = xplique(model)
        found["xplique, Fourier"] = xplique(model, transformations=None)
        found["xplique, pixels"] = xplique(model, transformations=None, use_fft=False)
    if importlib.util.find_spec("tf_keras_vis"):
        found["tf-keras-vis"] = tf_keras_vis(model)
        found["tf-keras-vis, bare"] = tf_keras_vis(model, input_modifiers=[], regularizers=[])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    model = keras.applications.MobileNetV2((options.size,) * 2 + (3,), weights=None, classifier_activation=None)
    steps = tools(model)
    rounds = [{name: step(options.steps) for name, step in steps.items()} for _ in range(options.rounds + 1)]
    times = {name: [taken[name] for taken in rounds[1:]] for name in steps}
    own = [name for name in times if name.startswith("vizlib")]
    print(f"{options.size} px, {options.steps} steps, {options.rounds} rounds; factors: times slower than", *own)
    for name, taken in sorted(times.items(), key=lambda item: min(item[1])):
        columns = []
        for label, statistic in (("fastest", np.min), ("median", np.median)):
            factors = [f"{statistic(taken) / statistic(times[mine]):5.2f} ×" for mine in own]
            columns.append(f"{label} {1e3 * statistic(taken):6.1f} ms {' '.join(factors)}")
        print(f"{name:26}", *columns, sep="   ")


if __name__ == "__main__":
    main()
