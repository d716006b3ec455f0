"""The named settings, as data. Each constant's source stands beside it; what a paper does not give is marked "ours"."""

from dataclasses import dataclass, replace

import numpy as np

from vizlib.canvas import COLOUR, Crop, Distort, Fourier, Phase, Pixels, Pyramid
from vizlib.errors import unknown
from vizlib.objectives import Objective, alpha_norm, colour_norm, grey_world, l2, total_variation


@dataclass(frozen=True)
class Recipe:
    """How to optimise: on what canvas, under which priors (times the user's strength) and views.
    optimizer: Keras class name and options; schedule, times the rate: the learning rate, and fade, the factor on the
    priors: (fraction of the steps, factor), …, lines between; views_until: fraction of steps that see random views;
    rest: clear the momentum whenever the rate changes; soft: (leak, spread), see `graphs.soften`."""

    name: str
    source: str
    canvas: Pixels | Fourier | Pyramid
    optimizer: tuple
    rate: float
    steps: int
    priors: Objective = Objective()
    views: tuple = ()
    views_until: float = 1.0
    schedule: tuple = ((0.0, 1.0),)
    fade: tuple = ((0.0, 1.0),)
    rest: bool = False
    soft: tuple | None = None
    margin = property(lambda self: sum(view.margin for view in self.views), doc="Px that the canvas is larger by.")

    def schedules(self, steps):
        """Four float32 (steps,): learning rate; the views' amplitude, 0 where a step sees the image itself; factor on
        the momentum before it, 0 where the rate has just changed if `rest`; factor on priors."""
        t = (np.arange(steps) + 0.5) / steps
        rate, fade = (np.interp(t, *np.transpose(points)) for points in (self.schedule, self.fade))
        keep = 1 - ((np.diff(rate, prepend=rate[0]) != 0) & self.rest)
        return tuple(np.float32(values) for values in (self.rate * rate, t < self.views_until, keep, fade))


ADAM = ("Adam", (("beta_1", 0.9), ("beta_2", 0.999)))
RMS_2015 = 27098.1 / np.sqrt(227 * 227 * 3)  # mv2015: σ over 227 × 227 × 3 values, so 68.9 a value; x/σ has unit norm
B, V = 80.0, 80.0 / 6.5  # mv2016: colour bound B and total-variation scale V = B / 6.5, on the 0–255 scale


def mv2015(*, mean, size, stride, beta=2.0):
    """Mahendran & Vedaldi, CVPR 2015 (arXiv 1412.0035). λ_V is 0.5, 5, 50 for a third of AlexNet's layers each; to tell
    these by stride (on VGG16: blocks 1–2, 3–4, 5) is ours, and so is the 0.3 on the rate, which diverges on VGG16."""
    sigma, strength = RMS_2015 * np.sqrt(3.0) * size, 0.5 if stride < 4 else 5.0 if stride < 16 else 50.0
    # the paper sums V over pixels of x/σ; total_variation averages over them
    priors = 2.16e8 * alpha_norm(alpha=6, unit=sigma, mean=mean)
    priors += strength * size**2 * total_variation(beta=beta, unit=sigma)
    rate = 0.3 * 0.004 * sigma**2  # 0.004 in units of x/σ (whose values are 1/σ of ours, and gradients σ times)
    falling = ((0.25, 1.0), (0.25, 0.1), (0.75, 0.1), (0.75, 0.01))
    return Recipe("mv2015", "arXiv 1412.0035", Pixels(mean, spread=RMS_2015), ("SGD", (("momentum", 0.9),)), rate=rate,
                  steps=400, priors=priors, schedule=falling, rest=True)  # fmt: skip


def mv2016(*, mean, size, stride, beta=2.0):
    """Mahendran & Vedaldi, IJCV 2016 (arXiv 1512.02017). Of their C = 1, 20, 100, 300 we take 300; the rate is ours. C
    there weighs the feature error; here both are divided by it, so strength 3 is C = 100, strength 15 is C = 20."""
    fidelity = 300.0
    priors = colour_norm(alpha=6, unit=B, mean=mean) + total_variation(beta=beta, unit=V)
    views, falling = (Crop(2 * max(round(stride / 4), 1)),), ((300 / 350, 1.0), (300 / 350, 0.1))
    return Recipe("mv2016", "arXiv 1512.02017", Pixels(mean, spread=20.0, bound=2 * B), ("ForgetfulAdagrad", ()),
                  rate=100.0 * fidelity, steps=350, priors=(1 / fidelity) * priors, views=views,
                  views_until=300 / 350, schedule=falling)  # fmt: skip


def pyramid(*, mean, size, stride, beta=1.5):
    """Ours: inversion on a Laplacian pyramid, without jitter; constants were tuned on photographs at 224 px. The deeper
    the layer, the weaker its hold on fine detail: priors grow with the stride, steps shrink, and Adam's epsilon grows
    to gradients that say nothing. Total variation weighs decorrelated colours alike: in RGB, rainbows come cheap.
    Priors fade (a parabola, by lines): at first they keep detail from places where it would stay."""
    fine, deep, smooth = 4.0 / stride, stride >= 16, total_variation(beta=beta, unit=V, colours=COLOUR)
    soft = (0.1 if deep else 0.2, 0.5)  # each layer more takes the gradient further from the true one
    grey = 20 * grey_world(unit=B, mean=mean) if deep else Objective()  # to bound each pixel would take contrast
    priors = fine**-2.1 * (8e-5 * (colour_norm(alpha=6, unit=1.5 * B, mean=mean) + grey) + 2.5e-3 * smooth)
    fade = tuple((t / 8, 4 * (1 - t / 8) ** 2 + 0.5 * deep) for t in range(9))
    adam = ("Adam", (("beta_2", 0.8), ("epsilon", 1e-7 / fine**2)))  # a short β2 keeps steps long
    return Recipe("pyramid", "this project", Pyramid(mean=tuple(mean)), adam, rate=0.2 * fine**0.4, steps=200,
                  priors=priors, schedule=((0.0, 1.0), (1.0, 0.0)), fade=fade, soft=soft)  # fmt: skip


def simonyan2013(*, mean, size):
    """Simonyan et al. 2013 (arXiv 1312.6034): zero image, L2, gradient ascent; no numbers are given. Adam is ours: a
    grey image hardly excites a network, so plain ascent stays there for hundreds of steps."""
    return Recipe("simonyan2013", "arXiv 1312.6034", Pixels(mean), ADAM, 2.0, steps=256, priors=0.01 * l2(mean=mean))


def distill2017(*, mean, size):
    """Olah et al., Distill 2017: Fourier canvas and random views; the weak total variation, for the slider, is ours,
    the gain of a quarter from the published code, where it stands without a reason."""
    canvas, weak = Fourier(spread=0.01, gain=0.25), 0.001 * total_variation(beta=2, unit=V)
    return Recipe("distill2017", "10.23915/distill.00007", canvas, ADAM, rate=0.05, steps=256,
                  priors=weak, views=(Distort(),))  # fmt: skip


def robust2013(*, mean, size):
    """Ours: simonyan2013 with the two plainest remedies for noise, total variation and random shifts of the view."""
    paper, smooth = simonyan2013(mean=mean, size=size), 0.1 * total_variation(beta=2, unit=V)
    return replace(paper, name="robust2013", source="this project", priors=paper.priors + smooth, views=(Crop(16),))


def maco2023(*, mean, size):
    """Fel et al. 2023 (arXiv 2306.06805): only phases are free. It has no prior, so strength changes nothing.
    Rate, schedule and views are ours: theirs (1.0, and crops from 50 % to 5 % of the image under noise 0.08) are for
    far larger images; at 224 px they left four of four classes beyond rank 100."""
    return Recipe("maco2023", "arXiv 2306.06805", Phase(mean=tuple(mean)), ("Nadam", ()), rate=0.1, steps=256,
                  schedule=((0.6, 1.0), (1.0, 0.0)), views=(Distort(),))  # fmt: skip


INVERSION = {make.__name__: make for make in (pyramid, mv2016, mv2015)}
CLASS_IMAGE = {make.__name__: make for make in (distill2017, maco2023, robust2013, simonyan2013)}


def _named(name, known, **facts):
    if name not in known:
        raise unknown("recipe", name, known)
    return known[name](**facts)


def for_layer(name, network, layer, *, size, **knobs):
    """The inversion recipe of a name for a network's layer at an image size; InputError for an unknown name.
    knobs: beta, the total variation's exponent: 1 keeps edges, but gives spikes in low layers."""
    return _named(name, INVERSION, mean=network.mean, size=size, stride=network.stride(layer), **knobs)


def for_class(name, network, *, size):
    """The class-image recipe of a name; InputError for an unknown name."""
    return _named(name, CLASS_IMAGE, mean=network.mean, size=size)
