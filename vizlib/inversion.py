"""Images from features (Mahendran & Vedaldi 2015, 2016): what does a layer still know of a photograph?"""

from vizlib import images, networks, objectives, optimise, recipes
from vizlib.backend import tf


def encode(network, image, layer):
    """The code Φ0 of an image at a layer: float32 tensor (1, …), computed once and exactly."""
    return network.features(layer)(tf.constant(images.check(image)[None]), training=False)


def invert(network, image, layer, *, recipe="fourier", mask=1.0, precision=None, **options):
    """Images whose features at `layer` equal those of `image` (H, W, 3): a generator of Snapshots.

    recipe: a name or a Recipe; mask: which features count, broadcast against the code (1, H', W', C);
    precision: of the steps, default the fast one of this machine; options: those of `optimise.run`
    (iterations as `steps`, `strength`, `seeds`, `every`, `start`).
    """
    size = images.check(image).shape[0]
    if isinstance(recipe, str):
        recipe = recipes.for_layer(recipe, network, layer, size=size)
    target = objectives.match(encode(network, image, layer), mask=mask)
    fast = network.features(layer, precision=precision or networks.fast_precision(network))
    return optimise.run(network.features(layer), target, recipe, size=size, fast=fast, **options)
