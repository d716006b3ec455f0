"""Arrays in, matplotlib Axes out. Nothing here computes, rescales an image or calls `show`."""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

# Okabe & Ito's colours, told apart by colour-blind eyes as well
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def image_grid(rows, *, titles=(), row_titles=(), width=2.0):
    """Images (H, W, 3) in [0, 1] side by side, as they are. rows: list of lists; gives the array of Axes.
    titles: one a column, or one a picture as a list of lists; row_titles: one a row; width: inches a picture."""
    columns = max(map(len, rows))
    shape = {"figsize": (width * columns, (width + 0.28) * len(rows)), "layout": "constrained"}
    _, axes = plt.subplots(len(rows), columns, squeeze=False, **shape)
    for i, row in enumerate(rows):
        for j, ax in enumerate(axes[i]):
            ax.set(xticks=[], yticks=[])
            ax.set_frame_on(False)
            if j < len(row):
                ax.imshow(np.clip(row[j], 0, 1), interpolation="nearest")
        if i < len(row_titles):
            axes[i, 0].set_ylabel(row_titles[i], fontsize=9)
    nested = bool(titles) and not isinstance(titles[0], str)
    for row, names in zip(axes, titles if nested else [titles], strict=False):
        for ax, name in zip(row, names, strict=False):
            ax.set_title(name, fontsize=9)
    return axes


def grey(saliency_map, *, percentile=99.0):
    """|A saliency map| as a picture (H, W, 3), from black for 0 to white at and above its own percentile."""
    top = np.percentile(np.abs(saliency_map), percentile)
    return np.repeat(np.clip(np.abs(saliency_map) / (top or 1.0), 0, 1)[..., None], 3, axis=2)


def loss_curve(snapshots, *, ax=None, title=""):
    """Every term of a run over its steps, on a logarithmic scale; terms differ in colour and marker. Gives the Axes."""
    values = {name: np.abs([s.terms[name] for s in snapshots]) + 1e-12 for name in snapshots[0].terms}
    ax = _lines(ax, [s.step for s in snapshots], values)
    ax.set(xlabel="step", ylabel="weighted value", yscale="log", title=title)
    return ax


def by_layer(names, series, *, ax=None, ylabel="", log=False):
    """Numbers by layer. series: {label: values, one a layer}; gives the Axes."""
    ax = _lines(ax, range(len(names)), series)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    ax.set(ylabel=ylabel, yscale="log" if log else "linear")
    return ax


def _lines(ax, x, series):
    ax = ax or plt.subplots(figsize=(6, 3), layout="constrained")[1]
    for k, (label, values) in enumerate(series.items()):
        colour, marker, line = COLOURS[k % 7], MARKERS[k % 7], ("-", "--", ":")[k // 7 % 3]
        ax.plot(x, values, color=colour, marker=marker, linestyle=line, markersize=4, label=label)
    ax.legend(fontsize=8)
    return ax


def segmentation(image, saliency_map, result, *, width=2.4):
    """Simonyan's figure 3: image, map, thresholds (blue above, brown below), mask and box; gives the Axes."""
    marks = np.full((*result.trimap.shape, 3), 0.75)
    marks[result.trimap > 0], marks[result.trimap < 0] = (0.0, 0.45, 0.7), (0.45, 0.3, 0.1)
    titles = ["image", "saliency", "thresholds", "mask", "box"]
    return image_grid([[image, grey(saliency_map), marks, *cut_out(image, result)]], titles=titles, width=width)


def cut_out(image, result):
    """The object of a segmentation on white, and the image with its box: two arrays (H, W, 3)."""
    framed, (top, left, bottom, right) = Image.fromarray(np.uint8(255 * image)), result.box
    for width, colour in ((4, "black"), (2, COLOURS[1])):
        ImageDraw.Draw(framed).rectangle((left, top, right - 1, bottom - 1), outline=colour, width=width)
    return np.where(result.mask[..., None], image, 1.0), np.asarray(framed, np.float32) / 255
