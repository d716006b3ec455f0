"""Images that maximise a class score (Simonyan et al. 2013): what does a class look like to the network?"""

import numpy as np

from vizlib import networks, objectives, optimise, recipes
from vizlib.errors import InputError


def maximise(network, classes, *, recipe="distill2017", size=None, seeds=(0,), precision=None, **options):
    """Images that maximise unnormalised class scores: a generator of Snapshots.
    classes: names or indices, one or a list; several with one seed, or one with several seeds, make one batch; recipe:
    a name or a Recipe; options: those of `optimise.run`."""
    classes = [classes] if isinstance(classes, str | int | np.integer) else list(classes)
    seeds = list(seeds) * len(classes) if len(seeds) == 1 else list(seeds)
    if not seeds or len(classes) not in (1, len(seeds)):
        raise InputError(f"{len(classes)} classes and {len(seeds)} seeds make no batch: give as many of each, or one.")
    score = objectives.class_score(np.stack([network.direction(c) for c in classes]))
    size = size or network.size
    if isinstance(recipe, str):
        recipe = recipes.for_class(recipe, network, size=size)
    fast = network.classifier(precision=precision or networks.fast_precision(network))
    return optimise.run(network.classifier(), score, recipe, size=size, seeds=seeds, fast=fast, **options)
