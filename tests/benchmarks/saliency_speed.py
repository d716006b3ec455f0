"""SmoothGrad (50 samples) and integrated gradients (50 steps) on MobileNetV2 at 224 px, side by side with others.

    pip install xplique tf-keras-vis saliency        # whichever of them; those that are missing are left out
    python tests/benchmarks/saliency_speed.py [--repeats 5]

All run on the same Keras model with random weights, in turns, so that a busy machine slows all alike; the best of the
repeats counts, of real time and of processor time (all cores). Of xplique its own batch size of 32 and two others are
tried; of PAIR saliency both the call of its documentation and one that is compiled, with batches, as ours is.
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    model = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    image = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    runs = [(method, name, run) for name, methods in peers(model) for method, run in methods.items()]
    times = {(method, name): [] for method, name, _ in runs}
    for turn in range(repeats + 1):
        for method, name, run in runs:
            taken = seconds(run, image)
            if turn:  # the first turn compiles
                times[method, name].append(taken)
    for (method, name), taken in sorted(times.items(), key=lambda item: (item[0][0], min(item[1]))):
        best, own = np.min(taken, axis=0), np.min(times[method, "vizlib"], axis=0)
        ratio = best / own
        print(f"{method:21}{name:18}{best[0]:7.2f} s {ratio[0]:6.2f} ×    processor {best[1]:7.2f} s {ratio[1]:6.2f} ×")


if __name__ == "__main__":
    main()
