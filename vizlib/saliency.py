"""Which pixels a class score depends on: one function a method, each giving a raw float32 map (H, W).

    saliency_map = saliency.smoothgrad(network, image, "goldfish", samples=50)

image: (H, W, 3) in [0, 1]; class_: name or index. S is the unnormalised score, logits · direction(class_); no map is
rescaled. InputError for an unknown class and for a map that is zero everywhere. Compiled once a network."""

import functools
import itertools
from dataclasses import replace

import numpy as np

from vizlib import graphs, images, networks
from vizlib.backend import keras, tf
from vizlib.errors import InputError, unknown
from vizlib.parameters import numbers, positive_integer

BATCH = 10  # fills with ten crops and with 50 samples
METHODS = {}  # name → function


def _method(function):
    @functools.wraps(function)
    def checked(network, image, class_, **options):
        image, side = images.check(image), network.model.input_shape[1:3]
        if any(s not in (None, n) for s, n in zip(side, image.shape[:2], strict=True)):
            raise InputError(f"{network.name} takes {side} px, not {image.shape[:2]}; load an image of size={side[0]}.")
        found = function(network, image, class_, **options)
        if not np.isfinite(found).all() or not found.any():
            kind = "zero" if np.isfinite(found).all() else "not finite"
            what = f"The {function.__name__} map of class {class_!r} is {kind} everywhere"
            raise InputError(f"{what}; choose another class, layer or image.")
        return found

    METHODS[function.__name__] = checked
    return checked


def compute(method, network, image, class_, **options):
    """The map of a method given by its name in METHODS; InputError for an unknown name."""
    if method not in METHODS:
        raise unknown("saliency method", method, METHODS)
    return METHODS[method](network, image, class_, **options)


@_method
def gradient(network, image, class_):
    """max over channels of |∂S/∂I| (Simonyan et al. 2013, sec. 3.1)."""
    return np.abs(_mean_gradient(network, class_, image)).max(axis=-1)


@_method
def ten_crop(network, image, class_, *, share=224 / 256):
    """Mean of the gradient maps of four corners, the centre and their reflections, put back in their places
    (Simonyan et al. 2013, sec. 3.1). share: a crop's side over the image's; crops are shown at the image's size."""
    height, width = (max(1, round(share * n)) for n in image.shape[:2])
    low, right = image.shape[0] - height, image.shape[1] - width
    corners = [(0, 0), (0, right), (low, 0), (low, right), (low // 2, right // 2)]
    places = [np.s_[y : y + height, x : x + width] for y, x in corners]
    crops = [image[p] for p in places] + [image[p][:, ::-1] for p in places]
    _, slopes = _compiled_gradient(network)(np.stack(crops), network.direction(class_), image.shape[:2])
    maps = np.abs(slopes).max(axis=-1)
    return _put_back(image.shape[:2], places * 2, [*maps[:5], *maps[5:, :, ::-1]])


@_method
def gradient_times_input(network, image, class_):
    """Σ over channels of ∂S/∂I · (I − the network's mean colour); signed (Shrikumar et al. 2016)."""
    return np.sum(_mean_gradient(network, class_, image) * (image - np.float32(network.mean)), axis=-1)


@_method
def smoothgrad(network, image, class_, *, samples=50, noise=0.15, seed=0):
    """max over channels of |mean of ∂S/∂I over noisy copies| (Smilkov et al. 2017); noise: sd over image's range. Each
    draw is added and subtracted (ours): half the draws, and errors that cancel, so that seeds agree better."""
    count, seed = positive_integer("samples", samples), numbers("seed", seed, most=1)[0] % 2**63
    start, spread = _parts(network)[0], np.float32(noise * np.ptp(image))
    nothing, here = start(np.stack([np.zeros_like(image), image]))

    def copies(first):
        draws = start(spread * tf.random.stateless_normal((BATCH // 2, *image.shape), (seed, first))) - nothing
        return tf.reshape(here + tf.stack([draws, -draws], axis=1), (BATCH, *here.shape))  # h is affine

    shown = ((min(BATCH, count - k), copies(k)) for k in range(0, count, BATCH))
    return np.abs(_mean_gradient(network, class_, image, shown)).max(axis=-1)


@_method
def integrated_gradients(network, image, class_, *, steps=50, baseline=None):
    """Σ over channels of (I − I₀) · mean of ∂S/∂I on the line from I₀ to I; signed (Sundararajan et al. 2017). steps:
    midpoints; baseline: I₀, image or colour (None = the network's mean colour); its error: `completeness_gap`."""
    start = np.broadcast_to(np.float32(network.mean if baseline is None else baseline), image.shape)
    points = np.float32((np.arange(positive_integer("steps", steps)) + 0.5) / steps)[:, None, None, None]
    first, last = _parts(network)[0](np.stack([start, image]))  # what is affine keeps the line straight
    on_line = ((n, first + t * (last - first)) for n, t in _batches(points))
    return np.sum((image - start) * _mean_gradient(network, class_, image, on_line), axis=-1)


def completeness_gap(network, image, class_, saliency_map, *, baseline=None):
    """|Σ map − (S(I) − S(I₀))| / |S(I) − S(I₀)| of an integrated-gradients map with this baseline: 0 is complete."""
    start = np.broadcast_to(np.float32(network.mean if baseline is None else baseline), image.shape)
    difference = float(np.subtract(*scores(network, [image, start], class_)))
    return abs(float(saliency_map.sum(dtype=float)) - difference) / abs(difference)


@_method
def guided_backprop(network, image, class_):
    """max over channels of |guided gradient|: ReLUs let only positive gradients back (Springenberg et al. 2014).
    Handle with care: it shows edges and hardly depends on class or weights (Adebayo et al. 2018; `randomised`)."""
    guided = _guided(network)
    guided.model.set_weights(network.model.get_weights())  # they may have been trained since
    return np.abs(_mean_gradient(guided, class_, image)).max(axis=-1)


@_method
def grad_cam(network, image, class_, *, layer=None):
    """ReLU(Σ_k mean(∂S/∂A_k) · A_k), bilinearly enlarged (Selvaraju et al. 2017); layer: A's (None = the last grid)."""
    grids = [name for name, tensor in network.outputs.items() if len(tensor.shape) == 4]
    if layer not in (None, *grids):
        raise unknown("layer with a grid", layer, grids)
    run = _compiled_gradient(network, layer or grids[-1])
    (grid,), (slopes,) = run(image[None], network.direction(class_), image.shape[:2])
    cam = tf.nn.relu(tf.reduce_sum(tf.reduce_mean(slopes, axis=(0, 1)) * grid, axis=-1, keepdims=True))
    return tf.image.resize(cam, image.shape[:2]).numpy()[..., 0]


@_method
def occlusion(network, image, class_, *, patch=32, stride=16):
    """By how much a patch of the mean colour lowers S: the mean over the patches that cover a pixel; signed (Zeiler &
    Fergus 2014). patch, stride: px; the last patches touch the border; a pixel that none covers gets 0."""
    patch, stride = positive_integer("patch", patch), positive_integer("stride", stride)
    rows, columns = (sorted({*range(0, n - patch, stride), max(n - patch, 0)}) for n in image.shape[:2])
    places = [np.s_[y : y + patch, x : x + patch] for y in rows for x in columns]
    masks = (_put_back(image.shape[:2], [place], [1.0])[..., None] for place in places)
    covered = (np.where(mask, np.float32(network.mean), image) for mask in masks)
    found = scores(network, itertools.chain([image], covered), class_)
    return _put_back(image.shape[:2], places, found[0] - found[1:])


def scores(network, pictures, class_):
    """Unnormalised scores S of images, (n, H, W, 3) or any iterable of (H, W, 3): float32 (n,)."""
    return _logits(network, pictures) @ network.direction(class_)


def probabilities(network, pictures, class_):
    """Probabilities of the class in the same images, softmax (or sigmoid of one logit): float64 (n,)."""
    return networks.probabilities(_logits(network, pictures))[:, network.class_index(class_)]


def randomised(network, layers, *, seed=0):
    """A copy of the network whose last `layers` layers with weights are randomised (Adebayo et al. 2018, cascading):
    each array's values are permuted, so that a layer keeps their distribution and loses what it learned."""
    weighted = [layer.name for layer in network.model.layers if layer.weights and layer.name != "preprocess"]
    chosen, rng = weighted[-positive_integer("layers", layers) :], np.random.default_rng(seed)
    model, outputs = graphs.rebuild(network.model, lambda y: graphs.copy(y) if y.name in chosen else y)
    for layer in map(model.get_layer, reversed(chosen)):  # from the top, so that one more layer changes no other
        layer.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in layer.get_weights()])
    return replace(network, model=model, outputs={name: outputs[name] for name in network.outputs})


def _batches(pictures):
    """(n, batch): batches of one image or of BATCH, n of them real: no number of images traces anything new."""
    pictures = iter(pictures)
    while chunk := list(itertools.islice(pictures, BATCH)):
        yield len(chunk), np.stack(chunk + chunk[-1:] * (BATCH - len(chunk) if len(chunk) > 1 else 0))


def _mean_gradient(network, class_, image, batches=None):
    """∂S/∂I at an image, or the mean over others of its size, given as (n, `_parts`' h of a batch, n of them real)."""
    (start, ahead, back, _), direction, total, count = _parts(network), network.direction(class_), 0.0, 0
    for n, h in batches or [(1, start(image[None]))]:
        total += ahead(h, direction * (np.arange(len(h)) < n)[:, None].astype(np.float32))
        count += n
    return back(image[None], total / count)[0].numpy()


def _logits(network, pictures):
    return np.concatenate([_parts(network)[3](batch).numpy()[:n] for n, batch in _batches(pictures)])


def _put_back(shape, places, values):
    """The mean over all places that cover a pixel of their values (numbers or maps)."""
    total, count = np.zeros((2, *shape), np.float32)
    for place, value in zip(places, values, strict=True):
        total[place] += value
        count[place] += 1
    return total / np.maximum(count, 1)


@functools.lru_cache(maxsize=32)
def _compiled_gradient(network, layer=None):
    """(batch, direction, size) → (A, ∂S/∂A), A a layer's output, or the batch itself, which is shown at `size`."""
    full = network.model
    model = keras.Model(full.input, [network.outputs[layer], full.output]) if layer else full

    @tf.function
    def run(batch, direction, size):
        with tf.GradientTape() as tape:
            tape.watch(batch)
            found = model(tf.image.resize(batch, size), training=False)
            source, logits = found if layer else (batch, found)
            score = tf.reduce_sum(logits * direction)
        return source, tape.gradient(score, source, unconnected_gradients="zero")

    return run


@functools.lru_cache(maxsize=32)
def _parts(network):
    """batch → h, where the network stops being affine; (h, directions) → Σ ∂S/∂h; (image, such a sum) → ∂S/∂I, so that
    one way back through the first convolution, which takes long, serves all images; batch → logits."""
    start, rest = graphs.split(network.classifier())

    def ahead(h, directions):
        with tf.GradientTape() as tape:
            tape.watch(h)
            score = tf.reduce_sum(tf.reshape(rest(h, training=False), directions.shape) * directions)
        return tf.reduce_sum(tape.gradient(score, h, unconnected_gradients="zero"), axis=0, keepdims=True)

    def back(image, slopes):
        with tf.GradientTape() as tape:
            tape.watch(image)
            h = start(image, training=False)
        return tape.gradient(h, image, output_gradients=slopes)

    begin, whole = (lambda batch, model=m: model(batch, training=False) for m in (start, network.classifier()))
    return tuple(map(tf.function, (begin, ahead, back, whole)))


@functools.lru_cache(maxsize=8)
def _guided(network):
    if not any(map(graphs.is_relu, network.model.operations)):
        raise InputError(f"{network.name} has no ReLU, so guided backpropagation is the plain gradient; use gradient.")
    make = lambda layer: graphs.with_relu(layer, lambda relu: lambda x: _only_positive(relu(x)))
    return replace(network, model=graphs.rebuild(network.model, make)[0])


@tf.custom_gradient
def _only_positive(x):
    return tf.identity(x), tf.nn.relu  # on the way back, as in the DeconvNet
