"""Can a saliency map be trusted? One table over all methods, measured on a folder of photographs.

    python tests/benchmarks/saliency_trust.py FOLDER [--network NAME] [--mosaics 4] [--pictures 6] [--seed 0]

FOLDER: pictures called NNN_….jpg, NNN the index of the ImageNet class. Only those that the network gets right count.
  share, hit   grid pointing game: how much of the positive saliency of a class lies in its quarter of a mosaic of four
               photographs, and how often the maximum does; by chance 0.25
  deletion     area under the class's probability while pixels turn into the mean colour, the most salient ones first:
               lower is better
  insertion    the same while they are put on the mean colour: higher is better
  top n, all   rank correlation of the map with that of the same network, its upper n layers or all of them randomised
               (Adebayo et al. 2018, absolute values): a map that explains the network loses its order: lower is better
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from vizlib import images, metrics, networks, saliency
from vizlib.errors import InputError

CASCADE = (1, 12)  # how many layers from the top are randomised, and then all


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="efficientnet_lite0")
    for name, default in (("--mosaics", 4), ("--pictures", 6), ("--cascades", 2), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    return parser.parse_args()


def right_ones(network, files, size):
    """{class: (file, image)} of the pictures that the network gets right at a size."""
    pictures = [images.load(f, size=size) for f in files]
    classes = [int(f.name.split("_")[0]) for f in files]
    guesses = [int(np.argmax(network.logits(p))) for p in pictures]
    found = {c: (f, p) for f, p, c, g in zip(files, pictures, classes, guesses, strict=True) if c == g}
    print(f"{len(found)} of {len(files)} pictures are right at {size} px", flush=True)
    return found


def random_map(network, image, class_):
    """What chance does: noise, the same for the same picture."""
    return np.random.default_rng(int(image.sum() * 1000) + class_).random(image.shape[:2]).astype(np.float32)


def pointing(network, method, mosaics):
    played = [metrics.pointing_game(method(network, mosaic, c), q) for mosaic, cs in mosaics for q, c in enumerate(cs)]
    return dict(zip(("share", "hit"), np.mean(played, axis=0), strict=True))


def curves(network, method, pictures):
    areas = []
    for class_, (_, image) in pictures:
        score = lambda batch, c=class_: saliency.probabilities(network, batch, c)
        areas.append(
            metrics.deletion_insertion(score, image, method(network, image, class_), baseline=network.mean)[3:]
        )
    return dict(zip(("deletion", "insertion"), np.mean(areas, axis=0), strict=True))


def sanity(network, method, cascade, pictures):
    row = {}
    for label, other in cascade.items():
        row[label] = np.mean([correlation(method, network, other, image, c) for c, (_, image) in pictures])
    return row


def correlation(method, network, other, image, class_):
    try:
        changed = np.abs(method(other, image, class_))
    except InputError:  # grad-CAM of random weights may be zero everywhere: nothing of the order is left
        return 0.0
    return metrics.rank_correlation(np.abs(method(network, image, class_)), changed)


def mosaics_of(right, count, rng):
    found = []
    for _ in range(count):
        classes = [int(c) for c in rng.choice(sorted(right), 4, replace=False)]
        found.append((metrics.mosaic([right[c][1] for c in classes]), classes))
    return found


def main():
    options = arguments()
    network, rng = networks.load(options.network), np.random.default_rng(options.seed)
    files = sorted(options.folder.glob("[0-9][0-9][0-9]_*"))
    mosaics = mosaics_of(right_ones(network, files, network.size // 2), options.mosaics, rng)
    right = right_ones(network, files, network.size)
    pictures = [(int(c), right[c]) for c in rng.choice(sorted(right), options.pictures, replace=False)]
    depth = sum(bool(layer.weights) for layer in network.model.layers) - 1  # all but the preprocessing
    cascade = {f"top {n}": saliency.randomised(network, n) for n in CASCADE} | {
        "all": saliency.randomised(network, depth)
    }
    print(f"{len(mosaics)} mosaics of 4, {len(pictures)} pictures, cascade on {options.cascades}; {depth} layers")
    for name, method in {"(random)": random_map, **saliency.METHODS}.items():
        start = time.perf_counter()
        row = pointing(network, method, mosaics) | curves(network, method, pictures)
        row |= sanity(network, method, cascade, pictures[: options.cascades])
        if name == "(random)":
            print(f"{'method':22}" + "".join(f"{key:>11}" for key in row) + f"{'seconds':>10}")
        numbers = "".join(f"{value:11.3f}" for value in row.values())
        print(f"{name:22}{numbers}{time.perf_counter() - start:10.1f}", flush=True)


if __name__ == "__main__":
    main()
