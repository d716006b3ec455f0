"""Inversion over many photographs: medians, by layer, of what the notebook measures for one.

    python tests/benchmarks/inversion_quality.py FOLDER --photographs 20 --layers block3_conv3 block5_conv3

FOLDER holds photographs; every n-th is taken. Without it, the sample photographs are used. Aims for the
medians over 20: feature error at most 0.005, 0.015, 0.03 in blocks 3, 4, 5; SSIM at least 0.85 in block 3, 0.5 at
block4_conv2, 0.25 at block5_conv1. Each photograph and layer takes about half a minute on two cores.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from vizlib import images, inversion, metrics, networks, optimise, recipes

LAYERS = [f"block{b}_conv{c}" for b in (3, 4, 5) for c in (1, 2, 3)]


def measure(network, judge, photo, layer, options):
    """One inversion: (error, SSIM, colour shift, rank of the original's class, whether it is in the top five, s)."""
    recipe = recipes.for_layer(options.recipe, network, layer, size=options.size)
    recipe = replace(recipe, soft=None) if options.true_gradients else recipe
    last = optimise.last(inversion.invert(network, photo, layer, every=options.iterations, recipe=recipe,
                                          steps=options.iterations))  # fmt: skip
    said = np.argmax(judge.logits(images.resize(photo, judge.size)))
    rank = metrics.class_rank(judge.logits(images.resize(last.image, judge.size)), said)
    shift = metrics.lab_shift(last.image, photo)
    error = last.terms["feature error"]
    return error, metrics.ssim(last.image, photo), shift, rank, rank < 5, last.seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--photographs", type=int, default=20)
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    parser.add_argument("--iterations", type=int, default=160)
    parser.add_argument("--recipe", default="fourier")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--true-gradients", action="store_true", help="instead of the recipe's softened ones")
    options = parser.parse_args()
    files = sorted(options.folder.iterdir()) if options.folder else list(images.samples())
    files = files[:: max(1, len(files) // options.photographs)][: options.photographs]
    network, judge = networks.load("vgg16"), networks.load("efficientnet_lite0")
    photographs = [images.load(f, size=options.size) for f in files]
    print(f"{len(photographs)} photographs, {options.size} px, {options.iterations} steps, {options.recipe}"
          f"{', true gradients' if options.true_gradients else ''}")  # fmt: skip
    print("layer          error (median, max)   SSIM  colour  top-1  top-5  s")
    for layer in options.layers:
        rows = np.array([measure(network, judge, p, layer, options) for p in photographs], float)
        error, ssim, shift, _, top5, seconds = np.median(rows, axis=0)
        top1, top5 = np.mean(rows[:, 3] == 0), np.mean(rows[:, 4])
        worst = rows[:, 0].max()
        numbers = f"{error:.4f} {worst:.4f}   {ssim:9.2f} {shift:7.1f} {top1:6.0%} {top5:6.0%} {seconds:4.0f}"
        print(f"{layer}   {numbers}", flush=True)


if __name__ == "__main__":
    main()
