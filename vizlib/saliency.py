"""Which pixels a class score depends on: one function a method, each giving a raw float32 map (H, W).

    saliency_map = saliency.smoothgrad(network, image, "goldfish", samples=50)

The score S is the unnormalised one (logits · `network.direction(class_)`), gradients are with respect to the image
in [0, 1], and no map is rescaled. Everything is compiled once a network, in batches of one size.
"""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from vizlib import graphs, images
from vizlib.errors import InputError, positive_integer, unknown

BATCH = 10  # SmoothGrad's and integrated gradients' 50 samples fill batches of it, and so do ten crops


def gradient(network, image, class_):
    """max over channels of |∂S/∂I| (Simonyan et al. 2013, sec. 3.1). image: (H, W, 3) in [0, 1]; map ≥ 0.

    class_: name or index, as `Network.direction` takes it. Raises InputError where the score does not depend on the
    image at all, as all methods do.
    """
    return _largest(_gradients(network, class_, _check(network, image)[None])[0])


def ten_crop(network, image, class_, *, share=224 / 256):
    """Mean of the gradient maps of four corners, the centre and their reflections, each put back in its place
    (Simonyan et al. 2013, sec. 3.1). share: a crop's side over the image's; crops are shown at the image's size."""
    image = _check(network, image)
    height, width = (max(1, round(share * n)) for n in image.shape[:2])
    low, high = image.shape[0] - height, image.shape[1] - width
    corners = [(0, 0), (0, high), (low, 0), (low, high), (low // 2, high // 2)]
    crops = np.stack([image[y : y + height, x : x + width] for y, x in corners])
    maps = _largest(_gradients(network, class_, np.concatenate([crops, crops[:, :, ::-1]]), size=image.shape[:2]))
    total, count = np.zeros(image.shape[:2], np.float32), np.zeros(image.shape[:2], np.float32)
    for (y, x), straight, mirrored in zip(corners, maps[:5], maps[5:, :, ::-1], strict=True):
        total[y : y + height, x : x + width] += straight + mirrored
        count[y : y + height, x : x + width] += 2
    return total / np.maximum(count, 1)


def gradient_times_input(network, image, class_):
    """Σ over channels of ∂S/∂I · (I − the network's mean colour); signed (Shrikumar et al. 2016)."""
    image = _check(network, image)
    return np.sum(_gradients(network, class_, image[None])[0] * (image - np.float32(network.mean)), axis=-1)


def smoothgrad(network, image, class_, *, samples=50, noise=0.15, seed=0):
    """max over channels of |mean of ∂S/∂I over noisy copies| (Smilkov et al. 2017).

    noise: the Gaussian's standard deviation over the image's range; the same seed gives the same map.
    """
    image, rng = _check(network, image), np.random.default_rng(seed)
    spread = np.float32(noise * (image.max() - image.min()))
    count = range(positive_integer("samples", samples))
    copies = (image + spread * rng.standard_normal(image.shape, np.float32) for _ in count)
    return _largest(_mean_gradient(network, class_, copies))


def integrated_gradients(network, image, class_, *, steps=50, baseline=None):
    """Σ over channels of (I − I₀) · mean of ∂S/∂I on the line from I₀ to I; signed (Sundararajan et al. 2017).

    steps: midpoints on the line; baseline: I₀ in [0, 1], broadcast against the image (None = the network's mean
    colour). The map's sum should be S(I) − S(I₀): see `completeness_gap`.
    """
    image = _check(network, image)
    start = _baseline(network, image, baseline)
    points = np.float32((np.arange(positive_integer("steps", steps)) + 0.5) / steps)
    on_line = (start + t * (image - start) for t in points)
    return np.sum((image - start) * _mean_gradient(network, class_, on_line), axis=-1)


def completeness_gap(network, image, class_, saliency_map, *, baseline=None):
    """|Σ map − (S(I) − S(I₀))| / |S(I) − S(I₀)| of an integrated-gradients map: 0 would be complete."""
    image = _check(network, image)
    score, start = scores(network, np.stack([image, _baseline(network, image, baseline)]), class_)
    return float(abs(saliency_map.sum(dtype=float) - (score - start)) / abs(score - start))


def guided_backprop(network, image, class_):
    """max over channels of |guided gradient|: every ReLU lets only positive gradients back (Springenberg et al. 2014).

    Handle with care: the map hardly depends on the class or on the upper layers' weights; it shows edges (Adebayo
    et al. 2018, `randomised`). Raises InputError for a network without ReLU or ReLU6.
    """
    return _largest(_gradients(_guided(network), class_, _check(network, image)[None])[0])


def grad_cam(network, image, class_, *, layer=None):
    """ReLU(Σ_k mean(∂S/∂A_k) · A_k), bilinearly enlarged (Selvaraju et al. 2017).

    layer: any layer with a grid (None = the last one); A are its channels.
    """
    image = _check(network, image)
    grids = [name for name, tensor in network.outputs.items() if len(tensor.shape) == 4]
    if layer not in (None, *grids):
        raise unknown("layer with a grid", layer, grids)
    run = _compiled_cam(network, layer or grids[-1])
    return _nonzero(run(image[None], network.direction(class_)[None]).numpy())[0]


def occlusion(network, image, class_, *, patch=32, stride=16):
    """How much the score falls when a patch is covered with the mean colour: the mean over all patches that cover a
    pixel; signed (Zeiler & Fergus 2014). patch, stride: px."""
    image = _check(network, image)
    patch, stride = positive_integer("patch", patch), positive_integer("stride", stride)
    places = [(y, x) for y in _starts(image.shape[0], patch, stride) for x in _starts(image.shape[1], patch, stride)]
    whole = scores(network, image[None], class_)[0]
    drops = whole - scores(network, (_covered(image, p, patch, network.mean) for p in places), class_)
    total, count = np.zeros(image.shape[:2], np.float32), np.zeros(image.shape[:2], np.float32)
    for (y, x), drop in zip(places, drops, strict=True):
        total[y : y + patch, x : x + patch] += drop
        count[y : y + patch, x : x + patch] += 1
    return _nonzero(total / np.maximum(count, 1))


METHODS = {
    f.__name__: f
    for f in (gradient, ten_crop, gradient_times_input, smoothgrad, integrated_gradients, guided_backprop, grad_cam, occlusion)
}


def compute(method, network, image, class_, **options):
    """The map of a method given by its name in METHODS; InputError for an unknown name."""
    if method not in METHODS:
        raise unknown("saliency method", method, METHODS)
    return METHODS[method](network, image, class_, **options)


def scores(network, images, class_):
    """Unnormalised scores S of images, (n, H, W, 3) or any iterable of (H, W, 3): float32 (n,)."""
    direction = network.direction(class_)
    return np.concatenate([_logits(network, batch) @ direction for batch in _chunks(images)])


def randomised(network, layers, *, seed=0):
    """A copy of the network whose last `layers` layers with weights are randomised (Adebayo et al. 2018, cascading).

    Each array's values are permuted, so that a layer keeps their distribution and loses what it learned.
    """
    weighted = [layer.name for layer in network.model.layers if layer.weights and layer.name != "preprocess"]
    chosen, rng = weighted[-positive_integer("layers", layers) :], np.random.default_rng(seed)
    model, outputs = graphs.rebuild(network.model, lambda y: graphs.copy(y) if y.name in chosen else y)
    for layer in map(model.get_layer, reversed(chosen)):  # from the top, so that one more layer changes no other
        layer.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in layer.get_weights()])
    return dataclasses.replace(network, model=model, outputs={n: outputs[n] for n in network.outputs if n in outputs})


# --- the machinery ----------------------------------------------------------------------------------------------


def _check(network, image):
    image, wanted = images.check(image), network.model.input_shape[1:3]
    if any(w not in (None, n) for w, n in zip(wanted, image.shape[:2], strict=True)):
        raise InputError(f"The image is {image.shape[0]}×{image.shape[1]} and {network.name} takes only "
                         f"{wanted[0]}×{wanted[1]}; load it with size={wanted[0]}.")  # fmt: skip
    return image


def _baseline(network, image, baseline):
    return np.broadcast_to(np.float32(network.mean if baseline is None else baseline), image.shape)


def _chunks(images):
    """Batches of at most BATCH out of an iterable of images."""
    images = iter(images)
    while chunk := list(itertools.islice(images, BATCH)):
        yield np.stack(chunk)


def _padded(batch):
    """One image or BATCH of them, no size between: so the number of samples never traces anything again."""
    missing = BATCH - len(batch) if len(batch) > 1 else 0
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch


def _gradients(network, class_, batch, *, size=None):
    """∂S/∂I of at most BATCH images, all shown at `size` (height, width): float32, like the batch."""
    direction = network.direction(class_)
    found = _compiled_gradient(network)(_padded(batch), direction, size or batch.shape[1:3])
    return _nonzero(found.numpy()[: len(batch)])


def _mean_gradient(network, class_, images):
    total, count = 0.0, 0
    for batch in _chunks(images):
        total, count = total + _gradients(network, class_, batch).sum(axis=0), count + len(batch)
    return total / np.float32(count)


def _logits(network, batch):
    return _compiled_logits(network)(_padded(batch)).numpy()[: len(batch)]


def _covered(image, place, patch, colour):
    image, (y, x) = image.copy(), place
    image[y : y + patch, x : x + patch] = colour
    return image


def _largest(gradients):
    return np.abs(gradients).max(axis=-1)


def _nonzero(values):
    if not np.isfinite(values).all():
        raise InputError("The saliency is not finite: the network overflows on this image; check its weights and input.")
    if not values.any():
        raise InputError("The saliency is zero everywhere: the class score does not depend on this image; choose another "
                         "class, layer or image.")  # fmt: skip
    return values


def _starts(length, patch, stride):
    last = max(length - patch, 0)
    return sorted({*range(0, last, stride), last})


@functools.lru_cache(maxsize=16)
def _compiled_gradient(network):
    @tf.function
    def run(batch, direction, size):
        batch = tf.convert_to_tensor(batch)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(batch)
            shown = batch if batch.shape[1:3] == size else tf.image.resize(batch, size)
            score = tf.reduce_sum(network.model(shown, training=False) * direction)
        return tape.gradient(score, batch, unconnected_gradients="zero")

    return run


@functools.lru_cache(maxsize=16)
def _compiled_logits(network):
    return tf.function(lambda batch: network.model(batch, training=False))


@functools.lru_cache(maxsize=16)
def _compiled_cam(network, layer):
    both = keras.Model(network.model.input, [network.outputs[layer], network.model.output])

    @tf.function
    def run(batch, direction):
        with tf.GradientTape() as tape:
            tape.watch(batch)
            grid, logits = both(batch, training=False)
            score = tf.reduce_sum(logits * direction)
        weights = tf.reduce_mean(tape.gradient(score, grid, unconnected_gradients="zero"), axis=(1, 2), keepdims=True)
        cam = tf.nn.relu(tf.reduce_sum(weights * grid, axis=-1, keepdims=True))
        return tf.image.resize(cam, batch.shape[1:3])[..., 0]

    return run


@functools.lru_cache(maxsize=8)
def _guided(network):
    ceilings = [_ceiling(layer) for layer in network.model.layers]
    if not any(ceilings):
        raise InputError(f"{network.name} has no ReLU or ReLU6, so guided backpropagation would be the plain gradient; "
                         "use gradient.")  # fmt: skip
    return dataclasses.replace(network, model=graphs.rebuild(network.model, _with_guided_relu)[0])


def _with_guided_relu(layer):
    if not _ceiling(layer):
        return layer
    guided = _guided_relu(_ceiling(layer))
    return graphs.copy(layer, activation=guided) if layer.weights else keras.layers.Activation(guided, name=layer.name)


def _ceiling(layer):
    """Where a layer's ReLU stops: 6 for ReLU6, infinite for ReLU, None for a layer without either."""
    if isinstance(layer, keras.layers.ReLU):
        return None if layer.negative_slope or layer.threshold else layer.max_value or np.inf
    name = getattr(getattr(layer, "activation", None), "__name__", type(layer).__name__)
    return {"relu": np.inf, "relu6": 6.0}.get(name.lower())


def _guided_relu(ceiling):
    @tf.custom_gradient
    def relu(x):
        # gates by the input, as the gradient does, and by the incoming gradient, as the DeconvNet does
        return tf.clip_by_value(x, 0.0, ceiling), lambda g: tf.nn.relu(g) * tf.cast((x > 0) & (x < ceiling), x.dtype)

    return relu
