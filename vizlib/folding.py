"""Batch normalisations folded into the convolutions before them: the same function in fewer passes over memory."""

from functools import lru_cache, partial

from vizlib.backend import keras, tf

CONVOLUTIONS = keras.layers.Conv2D, keras.layers.DepthwiseConv2D


@lru_cache(maxsize=32)
def fold_batch_norms(model):
    """A flat model for inference in which every batch norm behind a linear convolution is a part of it.

    Weights are shared and folded at each call: the model follows its original's training. bfloat16 stays unfolded.
    """
    if not any(map(_is_norm, model.layers)):
        return model
    made = {}  # id of a tensor → the layer that made it, what from, and the tensor, to keep its id taken

    def call(layer, *arguments, **options):
        source = made.get(id(arguments[0])) if _is_norm(layer) else None
        if source:  # what else uses the convolution keeps it; otherwise it drops out of the graph
            return keras.layers.Lambda(partial(_convolve, source[0], layer))(source[1])
        y = layer(*arguments, **{k: v for k, v in options.items() if v is not None})
        if type(layer) in CONVOLUTIONS and layer.activation is keras.activations.linear:
            made[id(y)] = layer, arguments[0], y
        return y

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _is_norm(layer):
    return type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, 3) and layer.compute_dtype == "float32"


def _convolve(layer, norm, x):
    """conv(x, kernel · scale) + shift, where scale = γ / √(variance + ε)."""
    scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon) * (norm.gamma if norm.scale else 1.0)
    shift = (norm.beta if norm.center else 0.0) + scale * ((layer.bias if layer.use_bias else 0.0) - norm.moving_mean)
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    kernel = layer.kernel * (tf.reshape(scale, layer.kernel.shape[2:]) if depthwise else scale)
    convolve = keras.ops.depthwise_conv if depthwise else keras.ops.conv
    y = convolve(x, kernel, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate)
    # not `y + shift`: TensorFlow fuses convolution, bias and ReLU6 into one kernel only where it sees a BiasAdd
    return tf.nn.bias_add(y, shift)
