"""Keras graphs taken apart and put together again: laid flat, in another precision, without their softmax."""

import contextlib
import functools
import itertools
import warnings

import numpy as np

from vizlib.backend import keras, tf
from vizlib.errors import InputError


def rebuild(model, make, *, before=lambda x: x):
    """The same graph with every layer replaced by `make(layer)`, nested models laid flat.
    Gives (model, {layer's name: tensor}), a name that is taken with its owner's before it; `before` comes first."""
    start, outputs, made = keras.Input(model.inputs[0].shape[1:]), {}, {}
    begin = before(start)

    def call(owner, layer, *arguments, **options):
        if is_graph(layer):
            return replay(layer, arguments[0])
        if id(layer) not in made:
            name, new = layer.name, make(layer)
            while name in (*outputs, begin._keras_history.operation.name):
                name = f"{owner.name}_{name}"
            made[id(layer)] = name, new if new is None or name == new.name else copy(new, name=name)
        name, new = made[id(layer)]
        if new is None:
            return arguments[0]
        result = outputs[name] = new(*arguments, **{k: v for k, v in options.items() if v is not None})
        if new is not layer and getattr(layer, "weights", None):
            new.set_weights(layer.get_weights())
        return result

    def replay(part, x):
        if isinstance(part, keras.Sequential):
            return functools.reduce(lambda y, layer: call(part, layer, y), part.layers, x)
        # Keras' public way to walk a graph, clone_model, also builds and compiles a model, which fails for some
        return part._run_through_graph(x, call_fn=functools.partial(call, part))

    (end,) = keras.tree.flatten(replay(model, begin))
    return keras.Model(start, end, name=model.name), outputs


def check(model):
    """InputError unless `model` is a graph from one RGB image to one output."""
    if not is_graph(model):
        raise InputError(f"{type(model).__name__} is no functional or sequential Keras model, so its layers cannot be "
                         "reached; build it as keras.Model(inputs, outputs).")  # fmt: skip
    given = [tuple(x.shape) for x in getattr(model, "inputs", None) or ()]
    if [(len(shape), shape[-1]) for shape in given] != [(4, 3)] or len(model.outputs) != 1:
        raise InputError(f"{model.name} must take one batch of RGB images (None, H, W, 3) and give one output, but "
                         f"takes {given or 'what it is not built for yet'}; hand in such a part of it.")  # fmt: skip


def is_graph(layer):
    """Whether a layer is a model made of layers that can be reached."""
    return isinstance(layer, keras.Sequential) or type(layer).__name__ == "Functional"


def copy(layer, **changes):
    """A new layer of the same configuration but for `changes`; its weights are set when it is first called."""
    return type(layer).from_config({**layer.get_config(), **changes})


def in_bfloat16(layer):
    """A copy that computes in bfloat16; the preprocessing stays exact."""
    inside = isinstance(layer, keras.layers.Layer) and layer.name != "preprocess"
    return copy(layer, dtype="mixed_bfloat16") if inside else layer


def is_relu(layer):
    """Whether a layer is, or ends in, a ReLU or ReLU6 that is flat below zero."""
    if isinstance(layer, keras.layers.ReLU):
        return not (layer.negative_slope or layer.threshold)
    return getattr(getattr(layer, "activation", None), "__name__", type(layer).__name__).lower() in ("relu", "relu6")


def with_relu(layer, wrap):
    """A copy of a layer whose ReLU is wrap(its ReLU); any other layer as it is."""
    if not is_relu(layer):
        return layer
    if getattr(layer, "weights", ()):
        return copy(layer, activation=wrap(layer.activation))
    return keras.layers.Activation(wrap(layer), name=layer.name, dtype=getattr(layer, "dtype_policy", None))


def soften(layer, *, leak, spread):
    """A copy of a layer that gives the same, and whose gradient finds ways where the true one is zero (ours).
    leak: the share that passes a closed ReLU; spread: the share of a max-pooling's that goes to all cells of a window
    alike, not to its largest: which cell that is, noise decides at the start, and descent seldom changes it."""
    if isinstance(layer, keras.layers.MaxPooling2D):
        return keras.layers.Lambda(_shared(layer, spread), name=layer.name, dtype=layer.dtype_policy)
    return with_relu(layer, lambda relu: _leaky(relu, leak))


def _leaky(relu, leak):
    top = float(relu(tf.constant(1e4)))  # a ReLU6 is closed there, too
    inside = lambda y: y if top > 1e3 else tf.where(y < top, y, -y)
    # as it asks for the output alone, convolution, bias and ReLU stay one operation
    back = lambda y: lambda dy: tf.raw_ops.LeakyReluGrad(gradients=dy, features=inside(y), alpha=leak)
    return tf.custom_gradient(lambda x: (y := relu(x), back(y)))


def _shared(layer, spread):
    window = {"ksize": (1, *layer.pool_size, 1), "strides": (1, *layer.strides, 1), "padding": layer.padding.upper()}
    top = lambda dy, x, y: tf.raw_ops.MaxPoolGrad(orig_input=x, orig_output=y, grad=(1 - spread) * dy, **window)
    mean = lambda dy, x: tf.raw_ops.AvgPoolGrad(orig_input_shape=tf.shape(x), grad=spread * dy, **window)
    return tf.custom_gradient(lambda x: (y := tf.nn.max_pool2d(x, **window), lambda dy: top(dy, x, y) + mean(dy, x)))


def fold(model):
    """A flat model, for inference, in fewer passes over memory: batch norms behind linear convolutions are part of
    these, and zero padding before them. Computed from the model's own weights at each call, as they may be trained."""
    start, made = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0].name), {}

    def call(layer, *arguments, **options):
        maker, source, _ = made.get(id(x := next(iter((*arguments, *options.values())))), (None,) * 3)
        if _is_norm(layer) and _is_linear(maker):
            pad, wider, _ = made.get(id(source), (None,) * 3)
            same = isinstance(pad, keras.layers.ZeroPadding2D) and _pads_alike(maker, pad, wider.shape)
            return Joined(maker, layer, "same" if same else maker.padding)(wider if same else source)
        y = layer(*arguments, **{k: v for k, v in options.items() if v is not None})
        made[id(y)] = layer, x, y  # the tensor, too, to keep its id taken
        return y

    (end,) = keras.tree.flatten(model._run_through_graph(start, call_fn=call))
    return keras.Model(start, end, name=model.name)


_float32 = lambda y: y.compute_dtype == "float32"
_plain = lambda y: y.activation is keras.activations.linear and y.data_format == "channels_last" and _float32(y)
_is_linear = lambda y: type(y) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D) and _plain(y)
_is_norm = lambda y: type(y) is keras.layers.BatchNormalization and y.axis in (-1, 3) and _float32(y)


def _pads_alike(convolution, pad, shape):
    """Whether "same" adds the zeros that `pad` does; with explicit padding TensorFlow's depthwise gradient crashes."""
    sides = zip(shape[1:3], convolution.kernel_size, convolution.strides, strict=True)
    both = [max(0, k - s + -n % s) if n else -1 for n, k, s in sides]
    alike = pad.padding == tuple((n // 2, n - n // 2) for n in both)
    return alike and convolution.padding == "valid" and convolution.dilation_rate == (1, 1)


class Joined(keras.layers.Layer):
    """norm(convolution(x)) in one convolution, which `padding` may make wider than the layer's own."""

    def __init__(self, convolution, norm, padding):
        super().__init__(dtype="float32")  # whatever precision new layers have by now
        self.convolution, self.norm, self.padding = convolution, norm, padding

    def call(self, x):
        layer, norm = self.convolution, self.norm
        scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon) * (norm.gamma if norm.scale else 1.0)
        bias, mean = layer.bias if layer.use_bias else 0.0, norm.moving_mean
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel = layer.kernel * (tf.reshape(scale, layer.kernel.shape[2:]) if depthwise else scale)
        convolve = keras.ops.depthwise_conv if depthwise else keras.ops.conv
        y = convolve(x, kernel, layer.strides, self.padding, "channels_last", layer.dilation_rate)
        # not `y + …`: only so TensorFlow joins convolution, bias and ReLU6
        return tf.nn.bias_add(y, scale * (bias - mean) + (norm.beta if norm.center else 0.0))

    def get_config(self):
        return {"of": [layer.get_config() for layer in (self.convolution, self.norm)], "padding": self.padding}


def split(model):
    """(start, rest): a folded model cut behind the last layer up to which all is affine, so that gradients add up."""
    affine = lambda y: _is_linear(y) or isinstance(y, Joined | keras.layers.ZeroPadding2D)
    # a layer may serve other graphs, too, and this one twice: nodes come from the end, so that its first use counts
    made = {node.operation: node.output_tensors[0] for level in model._nodes_by_depth.values() for node in level}
    for layer in reversed([model.layers[0], *itertools.takewhile(affine, model.layers[1:])]):
        with contextlib.suppress(ValueError):  # something goes round it
            return keras.Model(model.input, made[layer]), keras.Model(made[layer], model.output)


def preprocess(x, *, scale, mean, reverse):
    """[0, 1] RGB → what the network was trained on, as a 1×1 convolution, since every such step is affine."""
    order, scale = [2, 1, 0] if reverse else [0, 1, 2], np.broadcast_to(scale, 3)
    layer = keras.layers.Conv2D(3, 1, name="preprocess", trainable=False, dtype="float32")
    y = layer(x)
    layer.set_weights([(np.diag(255 * scale)[:, order]).reshape(1, 1, 3, 3), (-np.array(mean) * scale)[order]])
    return y


def without_softmax(model):
    """A `make` for rebuild that replaces a final softmax or sigmoid by nothing, so that logits come out."""
    last = model.layers[-1]
    while is_graph(last):
        last = last.layers[-1]
    squashing = (keras.activations.softmax, keras.activations.sigmoid)
    if not (isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in squashing):
        return lambda layer: layer
    warnings.warn(f"{model.name} ends in probabilities; its logits before {last.name} are used.", stacklevel=3)
    bare = None if not getattr(last, "weights", None) else {"activation": None}
    return lambda layer: layer if layer is not last else bare and copy(layer, **bare)
