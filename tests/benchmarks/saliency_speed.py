"""SmoothGrad (50 samples) and integrated gradients (50 steps) on MobileNetV2 at 224 px, side by side with others.

    pip install xplique tf-keras-vis saliency        # whichever of them; those that are missing are left out
    python tests/benchmarks/saliency_speed.py [--rounds 5] [--method SmoothGrad]

All run on the same Keras model with random weights, in turns, so that a busy machine slows all alike, after a round
that compiles and does not count. Fastest and median of the rounds, and the fastest in processor time (all cores).
Of xplique its own batch size of 32 and two others are tried; of PAIR saliency both the call of its documentation and
one that is compiled, with batches, as ours is; tf-keras-vis has no integrated gradients and no batch size to choose.
Aim: ours at least 1.5 × faster than the fastest other.
"""

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from vizlib import networks, saliency
from vizlib.backend import keras, tf

SAMPLES, SIZE, CLASS = 50, 224, 7
METHODS = "SmoothGrad", "integrated gradients"


def ours(model):
    network = networks.wrap(model, preprocessing="0-1")  # no preprocessing: the others get none either
    return {
        "SmoothGrad": lambda image: saliency.smoothgrad(network, image, CLASS, samples=SAMPLES),
        "integrated gradients": lambda image: saliency.integrated_gradients(network, image, CLASS, steps=SAMPLES),
    }


def xplique(model, batch_size):
    from xplique import attributions

    target = np.eye(1000, dtype=np.float32)[[CLASS]]
    smooth = attributions.SmoothGrad(model, batch_size=batch_size, nb_samples=SAMPLES, noise=0.15)
    integrated = attributions.IntegratedGradients(model, batch_size=batch_size, steps=SAMPLES)
    return {
        "SmoothGrad": lambda image: smooth(image[None], target),
        "integrated gradients": lambda image: integrated(image[None], target),
    }


def tf_keras_vis(model):
    from tf_keras_vis.saliency import Saliency

    explainer = Saliency(model)
    score = lambda logits: logits[:, CLASS]
    return {"SmoothGrad": lambda image: explainer(score, image[None], smooth_samples=SAMPLES, smooth_noise=0.15)}


def pair(model, *, compiled):
    import saliency.core as peer

    def gradients(batch):
        with tf.GradientTape() as tape:
            tape.watch(batch)
            score = model(batch, training=False)[:, CLASS]
        return tape.gradient(score, batch)

    gradients = tf.function(gradients) if compiled else gradients

    def call(batch, call_model_args=None, expected_keys=None):
        return {peer.base.INPUT_OUTPUT_GRADIENTS: gradients(tf.constant(batch, tf.float32)).numpy()}

    plain, integrated, batch = peer.GradientSaliency(), peer.IntegratedGradients(), 10 if compiled else 1
    return {
        "SmoothGrad": lambda image: plain.GetSmoothedMask(image, call, nsamples=SAMPLES, stdev_spread=0.15),
        "integrated gradients": lambda image: integrated.GetMask(image, call, x_steps=SAMPLES, batch_size=batch),
    }


def peers(model):
    """(name, {method: function of an image}) of vizlib and of every other that is installed."""
    found = [("vizlib", ours(model))]
    if importlib.util.find_spec("xplique"):
        found += [(f"xplique, batch {b}", xplique(model, b)) for b in (10, 32, 50)]
    if importlib.util.find_spec("tf_keras_vis"):
        found.append(("tf-keras-vis", tf_keras_vis(model)))
    if importlib.util.find_spec("saliency"):
        found += [("PAIR", pair(model, compiled=False)), ("PAIR, compiled", pair(model, compiled=True))]
    return found


def seconds(function, image):
    """(real, processor) seconds of one call."""
    start = time.perf_counter(), time.process_time()
    function(image)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def report(method, times):
    """A line for each tool, the fastest first; the factor is how many times slower than ours it is."""
    own_fastest, own_median = np.min(times["vizlib"], axis=0), np.median(times["vizlib"], axis=0)
    for name, taken in sorted(times.items(), key=lambda item: min(item[1])):
        fastest, median = np.min(taken, axis=0), np.median(taken, axis=0)
        print(f"{method:21}{name:18}fastest {fastest[0]:6.2f} s {fastest[0] / own_fastest[0]:5.2f} ×    "
              f"median {median[0]:6.2f} s {median[0] / own_median[0]:5.2f} ×    "
              f"processor {fastest[1]:6.2f} s {fastest[1] / own_fastest[1]:5.2f} ×", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", choices=METHODS, action="append", help="one method only")
    options = parser.parse_args()
    model = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    image = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    tools = peers(model)
    for method in options.method or METHODS:
        runs = {name: methods[method] for name, methods in tools if method in methods}
        rounds = [{name: seconds(run, image) for name, run in runs.items()} for _ in range(options.rounds + 1)]
        report(method, {name: [taken[name] for taken in rounds[1:]] for name in runs})


if __name__ == "__main__":
    main()
