"""The same function in fewer passes over memory: batch norms and paddings folded, affine starts split off."""

import contextlib
from functools import lru_cache, partial
from itertools import takewhile

from vizlib.backend import keras, tf

CONVOLUTIONS = keras.layers.Conv2D, keras.layers.DepthwiseConv2D


@lru_cache(maxsize=32)
def fold_batch_norms(model):
    """A flat model for inference in which every batch norm behind a linear convolution is a part of it, and so is zero
    padding before it where "same" pads alike. Weights are shared and folded at each call: the model follows its
    original's training. bfloat16 stays unfolded."""
    if not any(map(_is_norm, model.layers)):
        return model
    made = {}  # id of a tensor → the layer that made it, what from, and the tensor, to keep its id taken

    def call(layer, *arguments, **options):
        conv, source, _ = made.get(id(arguments[0]), (None, None, None))
        if _is_norm(layer) and _is_linear(conv):  # what else uses the convolution keeps it; else it drops out
            pad, wider, _ = made.get(id(source), (None, None, None))
            same = isinstance(pad, keras.layers.ZeroPadding2D) and _pads_alike(conv, pad, wider.shape)
            merged = partial(_convolve, conv, layer, "same" if same else conv.padding)
            return keras.layers.Lambda(merged)(wider if same else source)
        y = layer(*arguments, **{k: v for k, v in options.items() if v is not None})
        made[id(y)] = layer, arguments[0], y
        return y

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _is_norm(layer):
    return type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, 3) and layer.compute_dtype == "float32"


def _is_linear(layer):
    return type(layer) in CONVOLUTIONS and layer.activation is keras.activations.linear


def _pads_alike(conv, pad, shape):
    """Whether "same" would pad as the zero padding before a "valid" convolution does."""
    places = zip(shape[1:3], conv.kernel_size, conv.strides, strict=True)
    total = [max(0, k - s + -n % s) if n else -1 for n, k, s in places]
    alike = pad.padding == tuple((t // 2, t - t // 2) for t in total)
    return alike and conv.padding == "valid" and conv.dilation_rate == (1, 1)


def _convolve(layer, norm, padding, x):
    """conv(x, kernel · scale) + shift, where scale = γ / √(variance + ε)."""
    scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon) * (norm.gamma if norm.scale else 1.0)
    shift = (norm.beta if norm.center else 0.0) + scale * ((layer.bias if layer.use_bias else 0.0) - norm.moving_mean)
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    kernel = layer.kernel * (tf.reshape(scale, layer.kernel.shape[2:]) if depthwise else scale)
    convolve = keras.ops.depthwise_conv if depthwise else keras.ops.conv
    y = convolve(x, kernel, strides=layer.strides, padding=padding, dilation_rate=layer.dilation_rate)
    # not `y + shift`: TensorFlow fuses convolution, bias and ReLU6 into one kernel only where it sees a BiasAdd
    return tf.nn.bias_add(y, shift)


def split_affine(model):
    """(start, rest): a folded model cut behind the last layer up to which all is affine, so that gradients add up."""
    for layer in reversed([model.layers[0], *takewhile(_is_affine, model.layers[1:])]):
        with contextlib.suppress(ValueError):  # something goes round it
            return keras.Model(model.input, layer.output), keras.Model(layer.output, model.output)


def _is_affine(layer):
    merged = getattr(getattr(layer, "function", None), "func", None) is _convolve
    known = merged or _is_linear(layer) or isinstance(layer, keras.layers.ZeroPadding2D)
    return known and layer.compute_dtype == "float32"
