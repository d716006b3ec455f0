"""Inversion over many photographs: medians, by layer, of what the notebook measures for one.

    python tests/benchmarks/inversion_quality.py FOLDER --photographs 20 --layers block3_conv3 block5_conv3

FOLDER holds photographs; every n-th is taken. Without it, the sample photographs are used. Aims for the
medians over 20: feature error at most 0.005, 0.015, 0.03 in blocks 3, 4, 5; SSIM at least 0.85 in block 3, 0.5 at
block4_conv2, 0.25 at block5_conv1. Each photograph and layer takes about half a minute on two cores.

Whether a judge still sees the original's class says something only where it is sure of that class: with --sure, a
photograph counts if its class survives a JPEG at quality 50, and the next of the folder comes in for one that fails.
Under each layer stand the photographs whose class does not come first, with the judge's probability for it in the
photograph itself, and its rank in the reconstruction (0 = first). Contrast is the standard deviation of an image's
grey values over that of the photograph's.
"""

import argparse
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from vizlib import images, inversion, metrics, networks, optimise, recipes

LAYERS = [f"block{b}_conv{c}" for b in (3, 4, 5) for c in (1, 2, 3)]


def measure(network, judge, photo, layer, options):
    """One inversion: (error, SSIM, colour shift, contrast, naturalness, rank of the original's class, seconds)."""
    recipe = recipes.for_layer(options.recipe, network, layer, size=options.size)
    recipe = replace(recipe, soft=None) if options.true_gradients else recipe
    last = optimise.last(inversion.invert(network, photo, layer, every=options.iterations, recipe=recipe,
                                          steps=options.iterations))  # fmt: skip
    said = seen(judge, photo)
    rank = metrics.class_rank(judge.logits(images.resize(last.image, judge.size)), said)
    shift = metrics.lab_shift(last.image, photo)
    error, natural = last.terms["feature error"], metrics.naturalness(last.image, photo)
    contrast = np.std(last.image.mean(axis=-1)) / np.std(photo.mean(axis=-1))
    return error, metrics.ssim(last.image, photo), shift, contrast, natural, rank, last.seconds


def seen(judge, photo):
    """Index of the class that a judge sees in a photograph."""
    return np.argmax(judge.logits(images.resize(photo, judge.size)))


def sure(judge, photo):
    """Whether a judge sees the same class in a photograph and in its JPEG at quality 50."""
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.round(255 * photo))).save(file, "JPEG", quality=50)
    squeezed = np.float32(Image.open(file)) / 255
    return seen(judge, photo) == seen(judge, squeezed)


def chosen(files, judge, options):
    """{file: photograph} of about every n-th, and how many were passed over because the judge is not sure of them."""
    step, photographs, passed = max(1, len(files) // options.photographs), {}, 0
    for file in (file for first in range(step) for file in files[first::step]):
        photo = images.load(file, size=options.size)
        if options.sure and not sure(judge, photo):
            passed += 1
        else:
            photographs[file] = photo
        if len(photographs) == options.photographs:
            break
    return photographs, passed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--photographs", type=int, default=20)
    parser.add_argument("--layers", nargs="+", default=LAYERS)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--recipe", default="pyramid")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--true-gradients", action="store_true", help="instead of the recipe's softened ones")
    parser.add_argument("--sure", action="store_true", help="only photographs of whose class the judge is sure")
    options = parser.parse_args()
    files = sorted(options.folder.iterdir()) if options.folder else list(images.samples())
    network, judge = networks.load("vgg16"), networks.load("efficientnet_lite0")
    photographs, passed = chosen(files, judge, options)
    print(f"{len(photographs)} photographs, {options.size} px, {options.iterations} steps, {options.recipe}"
          f"{', true gradients' if options.true_gradients else ''}; passed over: {passed}")  # fmt: skip
    print("layer          error (median, max)   SSIM  colour  contrast  natural  top-1  top-5  s")
    for layer in options.layers:
        rows = np.array([measure(network, judge, p, layer, options) for p in photographs.values()], float)
        error, ssim, shift, contrast, natural, _, seconds = np.median(rows, axis=0)
        top1, top5 = np.mean(rows[:, 5] == 0), np.mean(rows[:, 5] < 5)
        worst = rows[:, 0].max()
        numbers = (f"{error:.4f} {worst:.4f}   {ssim:9.2f} {shift:7.1f} {contrast:9.2f} {natural:8.2f}"
                   f" {top1:6.0%} {top5:6.0%} {seconds:4.0f}")  # fmt: skip
        print(f"{layer}   {numbers}", flush=True)
        for (file, photo), rank in zip(photographs.items(), rows[:, 5], strict=True):
            if rank:
                name, p = judge.top(images.resize(photo, judge.size), k=1)[0]
                print(f"    {Path(file).stem}: {name} {p:.2f}, rank {rank:.0f}", flush=True)


if __name__ == "__main__":
    main()
