"""What is optimised and how it becomes an image, and the random views of it that a network is shown.

A canvas has `start(seeds, size)` → parameters (list of float32 arrays), one random start a seed; `image(parameters)` →
(B, H, W, 3) in [0, 1], clipped where it says so; `encode(images)`, its inverse; perhaps `project(parameters)`, what to
put back after a step. A view is a function of (images, seeds (B, 2), amplitude 0…1) → images; no canvas changes."""

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vizlib.backend import tf
from vizlib.files import data_path

GREY = (0.5, 0.5, 0.5)
# √ of the colour correlation of ImageNet pixels, as published with Lucid (Distill 2017), over its largest column norm
_COLOUR = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
COLOUR = (_COLOUR / np.linalg.norm(_COLOUR, axis=0).max()).astype(np.float32)


def _noise(seeds, shape):
    # the second number keeps starts apart from views, whose second number is the step
    return np.stack([tf.random.stateless_normal(shape, (int(s), 2**31 - 1)).numpy() for s in seeds]).astype(np.float32)


@dataclass(frozen=True)
class Pixels:
    """Mean-subtracted pixels x (B, H, W, 3) on the 0–255 scale: image = mean + x / 255, not clipped.
    mean: RGB in [0, 1]; spread: standard deviation of the Gaussian start (0 = the mean image itself);
    bound: each pixel's RGB norm is projected to at most this (Mahendran & Vedaldi 2016), infinite = no bound."""

    mean: tuple = GREY
    spread: float = 0.0
    bound: float = float("inf")

    def start(self, seeds, size):
        return [np.float32(self.spread) * _noise(seeds, (size, size, 3))]

    def image(self, parameters):
        return parameters[0] / 255.0 + tf.constant(self.mean, tf.float32)

    def encode(self, images):
        return [255.0 * (np.asarray(images, np.float32) - np.float32(self.mean))]

    def project(self, parameters):
        norm = tf.norm(parameters[0], axis=-1, keepdims=True)
        return [parameters[0] * tf.minimum(1.0, self.bound / tf.maximum(norm, 1e-6))]


@dataclass(frozen=True)
class Fourier:
    """Sigmoid of a colour-decorrelated Fourier spectrum (B, 3, H, W/2 + 1, 2) over f^decay (Distill 2017, appendix).
    Every frequency moves at a like rate, which turns the gradient's high-frequency noise into a picture.
    spread: standard deviation of the start's coefficients; gain: factor on all; values encode from [0.01, 0.99]."""

    spread: float = 0.01
    decay: float = 1.0
    gain: float = 1.0

    def start(self, seeds, size):
        return [np.float32(self.spread) * _noise(seeds, (3, size, size // 2 + 1, 2))]

    def image(self, parameters):
        return tf.sigmoid(self._colours(parameters[0]))

    def encode(self, images):
        x = np.clip(np.asarray(images, np.float64), 0.01, 0.99)
        return self._spectrum(np.log(x / (1 - x)))

    def _colours(self, spectrum):
        size = spectrum.shape[2]
        scaled = spectrum * (self.gain * _amplitudes(size, self.decay)[..., None])
        pixels = tf.signal.irfft2d(tf.complex(*tf.unstack(scaled, axis=-1)), [size, size])
        return tf.einsum("bchw,dc->bhwd", pixels, tf.constant(COLOUR))

    def _spectrum(self, colours):
        pixels = np.einsum("bhwd,cd->bchw", colours, np.linalg.inv(COLOUR.astype(float)))
        spectrum = np.fft.rfft2(pixels) / (self.gain * _amplitudes(colours.shape[1], self.decay))
        return [np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)]


@dataclass(frozen=True)
class Pyramid:
    """A Laplacian pyramid, ours: pictures (B, ⌈H / 2^k⌉, ⌈W / 2^k⌉, 3) down to 8 px or less, enlarged and summed. An
    optimiser that scales the step of every number (Adam) thus has a rate of its own for each scale at each place: waves
    have no place, pixels no scale. mean: RGB in [0, 1]; spread: standard deviation of the start, white noise."""

    mean: tuple = GREY
    spread: float = 0.03

    def start(self, seeds, size):
        return self._split(np.float32(self.spread) * _noise(seeds, (size, size, 3)))

    def image(self, parameters):
        enlarged = lambda coarse, fine: tf.image.resize(coarse, fine.shape[1:3]) + fine
        colours = functools.reduce(enlarged, parameters[::-1])
        return _picture(tf.einsum("bhwc,dc->bhwd", colours, tf.constant(COLOUR)), self.mean)

    def encode(self, images):
        pixels = 4.0 * (np.asarray(images, np.float64) - self.mean)
        return self._split(np.float32(pixels @ np.linalg.inv(COLOUR.astype(float)).T))

    def _split(self, colours):
        if (size := colours.shape[1]) <= 8:
            return [colours]
        coarse = tf.image.resize(colours, [-(-size // 2)] * 2, antialias=True)
        return [colours - tf.image.resize(coarse, [size] * 2).numpy(), *self._split(coarse.numpy())]


def _picture(colours, mean):
    """mean + colours / 4, clipped, the gradient as if it were not: at a sigmoid's flat ends priors get stuck."""
    x = colours / 4.0 + tf.constant(mean, tf.float32)
    return x + tf.stop_gradient(tf.clip_by_value(x, 0.0, 1.0) - x)


@dataclass(frozen=True)
class Phase(Fourier):
    """Only phases (B, 3, H, W/2 + 1) are free; magnitudes are those of photographs (MACO: Fel et al. 2023)."""

    mean: tuple = GREY

    def start(self, seeds, size):
        return [np.float32(np.pi) * _noise(seeds, (3, size, size // 2 + 1))]

    def image(self, parameters):
        waves = tf.stack([tf.cos(parameters[0]), tf.sin(parameters[0])], axis=-1)
        return _picture(self._colours(waves * _photographs(parameters[0].shape[2])[..., None]), self.mean)

    def encode(self, images):
        (spectrum,) = self._spectrum(4.0 * (np.asarray(images, np.float64) - self.mean))
        return [np.arctan2(spectrum[..., 1], spectrum[..., 0])]


@functools.cache
def _photographs(size):
    """Magnitudes of photographs over those of `_amplitudes`, (3, H, W/2 + 1), 0 at f = 0; see data/make_spectrum.py."""
    quarter = np.load(data_path("spectrum.npy")).astype(np.float32)  # at |fy|, fx from 0 to 1/2
    f = np.abs(np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij"))
    found = np.stack([ndimage.map_coordinates(q, 2 * f * (len(q) - 1), order=1) for q in quarter])
    return np.where(f.any(axis=0), found, 0)


def _amplitudes(size, decay):
    """Scale of every rfft2 coefficient, (H, W/2 + 1): size / f^decay, f in cycles per pixel, at least 1/size."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    return (size / np.maximum(f, 1 / size) ** decay).astype(np.float32)


@dataclass(frozen=True)
class Crop:
    """A window at a random place of a canvas `margin` px larger (Mahendran & Vedaldi 2016); centred when off."""

    margin: int

    def __call__(self, images, seeds, amplitude):
        size, low, high = images.shape[1] - self.margin, self.margin // 2, self.margin - self.margin // 2
        windows = []
        for k in range(images.shape[0]):  # each image has its own view, as if it ran alone
            shift = tf.random.stateless_uniform((2,), seeds[k] + [2, 0], -low, high + 1, tf.int32)
            at = low + shift * tf.cast(amplitude, tf.int32)
            windows.append(tf.slice(images[k], tf.concat([at, [0]], 0), (size, size, 3)))
        return tf.stack(windows)


@dataclass(frozen=True)
class Distort:
    """Pad with grey, shift, scale and rotate in one bilinear resampling (Distill 2017: jitter 16, then 8).
    jitters: widths of uniform shifts, px, summed; scale and degrees: half-widths of uniform factors and angles."""

    jitters: tuple = (16, 8)
    scale: float = 0.05
    degrees: float = 5.0
    margin: int = 0

    def __call__(self, images, seeds, amplitude):
        matrices = [self._matrix(seeds[k], amplitude, images.shape[1]) for k in range(images.shape[0])]
        return tf.raw_ops.ImageProjectiveTransformV3(images=images, transforms=tf.stack(matrices), fill_value=0.5,
            output_shape=tf.shape(images)[1:3], interpolation="BILINEAR", fill_mode="CONSTANT")  # fmt: skip

    def _matrix(self, seed, amplitude, size):
        u = tf.random.stateless_uniform((2 + 2 * len(self.jitters),), seed + [3, 0], -1.0, 1.0) * amplitude
        factor, angle = 1.0 + self.scale * u[0], self.degrees * np.pi / 180 * u[1]
        shift = tf.add_n([tf.round(u[2 + 2 * k : 4 + 2 * k] * w / 2) for k, w in enumerate(self.jitters)])
        a, b, middle = tf.cos(angle) * factor, tf.sin(angle) * factor, (size - 1) / 2
        dx, dy = middle - a * middle + b * middle + shift[0], middle - b * middle - a * middle + shift[1]
        return tf.stack([a, -b, dx, b, a, dy, 0.0, 0.0])
