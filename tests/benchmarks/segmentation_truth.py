"""How well does a saliency map cut the object out? IoU with masks drawn by hand, for the sample photographs.

    python tests/benchmarks/segmentation_truth.py [--network NAME] [--size 224] [--smoothness 5] [--components 5]

Each map is that of the class which the network ranks first. A column a photograph: IoU of the mask / of its box; the
two baselines, all pixels and a centred square of half the area, are what a map has to beat. (ideal marks) is the same
cut with a map drawn at random above all else inside the true mask: what it lacks to 1 is the cut's fault, the rest of
what a method lacks is its map's.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from vizlib import files, images, metrics, networks, saliency, segment
from vizlib.errors import InputError


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=224)
    for name, default in (("--foreground", 0.95), ("--background", 0.3), ("--smoothness", 5.0)):
        parser.add_argument(name, type=float, default=default)
    parser.add_argument("--components", type=int, default=5)
    return parser.parse_args()


def baselines(size):
    """The masks {name: (size, size)} that know nothing of the picture."""
    square, edge = np.zeros((size, size), bool), round(size * (1 - np.sqrt(0.5)) / 2)
    square[edge : size - edge, edge : size - edge] = True
    return {"(all pixels)": np.ones((size, size), bool), "(centred half)": square}


def ideal(truth, seed=0):
    """A map that is higher at every pixel of the truth than anywhere else, and random otherwise."""
    return truth + np.random.default_rng(seed).random(truth.shape)


def agreement(mask, truth):
    boxes = [segment.box(m) if m.any() else (0, 0, 0, 0) for m in (mask, truth)]
    return metrics.iou(mask, truth), metrics.box_iou(*boxes)


def cut(photo, saliency_map, settings):
    try:
        return segment.segment(photo, saliency_map, **settings).mask
    except InputError as error:  # counts as a miss
        print(error)
        return np.zeros(saliency_map.shape, bool)


def show(name, row):
    row = [*row, np.mean(row, axis=0)]
    print(f"{name:22}" + "".join(f"  {mask:4.2f}/{box:4.2f}" for mask, box in row), flush=True)


def main():
    options = arguments()
    network = networks.load(options.network)
    photos = {name: images.load(name, size=options.size) for name in images.samples()}
    drawn = {n: images.load(files.data_path("images", "masks", f"{n}.png"), size=options.size) for n in photos}
    truth = {n: d[..., 0] > 0.5 for n, d in drawn.items()}
    classes = {n: int(np.argmax(network.logits(p))) for n, p in photos.items()}
    print(", ".join(f"{n}: {network.classes[c]}" for n, c in classes.items()))
    print(f"{'':22}" + "".join(f"  {n[:9]:9}" for n in [*photos, "mean"]))
    for name, mask in baselines(options.size).items():
        show(name, [agreement(mask, truth[n]) for n in photos])
    settings = {k: getattr(options, k) for k in ("foreground", "background", "smoothness", "components")}
    show("(ideal marks)", [agreement(cut(p, ideal(truth[n]), settings), truth[n]) for n, p in photos.items()])
    for name in saliency.METHODS:
        maps = {n: saliency.compute(name, network, p, classes[n]) for n, p in photos.items()}
        show(name, [agreement(cut(p, maps[n], settings), truth[n]) for n, p in photos.items()])


if __name__ == "__main__":
    main()
