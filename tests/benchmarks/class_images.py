"""Does another network see the class in a class image? Ranks by a judge that was never optimised for.

    python data/convert_weights.py --only efficientnet_lite1 FOLDER
    python tests/benchmarks/class_images.py FOLDER/efficientnet_lite1.json [--recipes …] [--classes 20] [--steps 256]
    python tests/benchmarks/class_images.py FOLDER/efficientnet_lite1.json --pets

Classes are drawn by a seed. For each recipe: how often the judge ranks the class first, its median and worst rank
(1 = first), its median probability, the diversity of four starts of three classes (mean 1 − SSIM over pairs), seconds
an image. With --pets: the fine-tuned cats-vs-dogs logit against ImageNet scores. The rank is then that of the best cat
or dog class, and `pets` is how often the fine-tuned network agrees.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from vizlib import class_image, images, metrics, networks, optimise, recipes

CATS, DOGS = range(281, 286), range(151, 269)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["simonyan2013", "robust2013", "distill2017", "maco2023"])
    for name, default in (("--classes", 20), ("--steps", 256), ("--size", 224), ("--seed", 0), ("--batch", 5)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--pets", action="store_true")
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    return parser.parse_args()


def made(network, classes, recipe, options, *, size, seeds=None):
    """Class images (n, size, size, 3), in batches."""
    found = []
    for k in range(0, len(classes), options.batch):
        part = classes[k : k + options.batch]
        starts = [options.seed] * len(part) if seeds is None else seeds[k : k + options.batch]
        settings = {"recipe": recipe, "size": size, "steps": options.steps, "every": options.steps}
        run = class_image.maximise(network, part, seeds=starts, **settings)
        found.extend(optimise.last(run).images)
    return found


def verdict(judge, picture, group):
    """(rank, probability) of the best of a group of classes."""
    scores = judge.logits(images.resize(picture, judge.size))
    p = networks.probabilities(scores)
    return min(metrics.class_rank(scores, i) for i in group) + 1, max(p[i] for i in group)


def keep(options, name, pictures):
    for k, picture in enumerate(pictures if options.out else ()):
        images.save(picture, options.out / f"{name}_{k}.png")


def ladder(options, judge, network):
    classes = np.random.default_rng(options.seed).choice(1000, options.classes, replace=False).tolist()
    print(", ".join(network.classes[c] for c in classes))
    print(f"{'recipe':14}{'top-1':>7}{'median':>8}{'worst':>7}{'prob.':>7}{'diversity':>11}{'s/image':>9}", flush=True)
    for recipe in options.recipes:
        start = time.perf_counter()
        pictures = made(network, classes, recipe, options, size=options.size)
        seconds = (time.perf_counter() - start) / len(classes)
        keep(options, recipe, pictures)
        ranks, p = zip(*(verdict(judge, x, [c]) for x, c in zip(pictures, classes, strict=True)), strict=True)
        starts = [made(network, [c] * 4, recipe, options, size=options.size, seeds=[0, 1, 2, 3]) for c in classes[:3]]
        spread = np.mean([metrics.diversity(s) for s in starts])
        print(f"{recipe:14}{np.mean(np.equal(ranks, 1)):7.0%}{np.median(ranks):8.0f}{max(ranks):7}{np.median(p):7.2f}"
              f"{spread:11.2f}{seconds:9.1f}", flush=True)  # fmt: skip


def pets(options, judge, network):
    tuned, rng = networks.load("mobilenet_v2_cats_vs_dogs"), np.random.default_rng(options.seed)
    count = options.classes // 4
    sources = {
        ("fine-tuned", "cat"): (tuned, ["cat"] * count, tuned.size),
        ("fine-tuned", "dog"): (tuned, ["dog"] * count, tuned.size),
        ("ImageNet", "cat"): (network, list(CATS)[:count], options.size),
        ("ImageNet", "dog"): (network, rng.choice(DOGS, count, replace=False).tolist(), options.size),
    }
    print(f"{'score':11}{'recipe':14}{'':5}{'top-1':>7}{'median':>8}{'worst':>7}{'prob.':>7}{'pets':>6}", flush=True)
    for recipe in options.recipes:
        for (score, pet), (source, classes, size) in sources.items():
            pictures = made(source, classes, recipe, options, size=size, seeds=list(range(len(classes))))
            keep(options, f"{score}_{pet}_{recipe}", pictures)
            group = CATS if pet == "cat" else DOGS
            ranks, p = zip(*(verdict(judge, x, group) for x in pictures), strict=True)
            agree = np.mean([tuned.top(images.resize(x, tuned.size), k=1)[0][0] == pet for x in pictures])
            print(f"{score:11}{recipe:14}{pet:5}{np.mean(np.equal(ranks, 1)):7.0%}{np.median(ranks):8.0f}{max(ranks):7}"
                  f"{np.median(p):7.2f}{agree:6.0%}", flush=True)  # fmt: skip


def main():
    options = arguments()
    judge, network = networks.read(options.judge), networks.load("efficientnet_lite0")
    for name in options.recipes:
        recipes.for_class(name, network, size=options.size)  # refuses a misspelt one at once
    (pets if options.pets else ladder)(options, judge, network)


if __name__ == "__main__":
    main()
