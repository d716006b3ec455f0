"""Images from features (Mahendran & Vedaldi 2015, 2016): what does a layer still know of a photograph?"""

import psutil

from vizlib import images, networks, objectives, optimise, recipes
from vizlib.backend import tf


def encode(network, image, layer):
    """The code Φ0 of an image at a layer: float32 tensor (1, …), computed once and exactly."""
    return network.features(layer)(tf.constant(images.check(image)[None]), training=False)


def invert(network, image, layer, *, recipe="pyramid", mask=1.0, precision=None, **options):
    """Images whose features at `layer` equal those of `image` (H, W, 3): a generator of Snapshots.
    recipe: a name or a Recipe; mask: which features count, broadcast against the code (1, H', W', C); precision: of the
    steps, default the fast one of this machine; options: those of `optimise.run`."""
    target = objectives.match(encode(network, image, layer), mask=mask)
    return _run(network, image, layer, target, recipe, precision, options)


def caricature(network, image, layer, *, recipe="pyramid", precision=None, **options):
    """The image with its features at `layer` exaggerated (Mahendran & Vedaldi 2016, sec. 5): a generator of Snapshots.
    Starts from the image itself; options as for `invert`."""
    louder = objectives.caricature(encode(network, image, layer))
    return _run(network, image, layer, louder, recipe, precision, {"start": image[None], **options})


def _run(network, image, layer, objective, recipe, precision, options):
    if isinstance(recipe, str):
        recipe = recipes.for_layer(recipe, network, layer, size=image.shape[0])
    fast = network.features(layer, precision=precision or networks.fast_precision(network), soft=recipe.soft)
    return optimise.run(network.features(layer), objective, recipe, size=image.shape[0], fast=fast, **options)


def estimate(network, image, layers, *, recipe="pyramid", steps=200, seeds=(0,)):
    """About how long inverting `layers` will take, and how much memory: {"minutes", "gigabytes"}.
    Times three steps at the shallowest and at the deepest layer, each twice, because the first time compiles."""
    shallow, *_, deep = sorted([*layers, *layers], key=network.layers.index)
    times = []
    for layer in (shallow, shallow, deep, deep):
        first, last = invert(network, image, layer, recipe=recipe, steps=3, every=3, seeds=seeds)
        times.append(last.seconds - first.seconds)
    minutes = len(layers) * ((times[1] + times[3]) / 6 * steps + 2) / 60
    return {"minutes": minutes, "gigabytes": psutil.Process().memory_info().rss / 2**30}
