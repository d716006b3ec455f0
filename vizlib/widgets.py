"""Panels with sliders over inversion, class images and saliency, for notebooks and for the page of `make app`.

    widgets.inversion_panel(layer="block4_conv2", size=128)      # as a cell's last line

A panel computes in one thread and sets widget traits from there, nothing else: those every kernel and front end
delivers at once, while pyplot, print and the event loop's own tasks wait for the kernel, or for each other."""

import base64
import html
import io
import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as w
import numpy as np
from matplotlib.figure import Figure

from vizlib import class_image, images, inversion, networks, plots, recipes, saliency, segment
from vizlib.errors import InputError

MEGABYTES = 10  # larger uploads a front end may drop without a word
QUICK = {"smoothgrad": {"samples": 20}, "integrated_gradients": {"steps": 20}, "occlusion": {"stride": 32}}  # answers
EARLY = "stopped before the first iteration; Run starts anew"
SHOWN, GAP, KEPT = 336, 0.2, 8  # px of a picture in the page; seconds between two updates; results in the strip


def live(interactive=False):
    """Whether a person sits before this kernel: says so, or came by a Jupyter server or VS Code; papermill does not."""
    return interactive or "JPY_SESSION_NAME" in os.environ or hasattr(sys.modules["__main__"], "__vsc_ipynb_file__")


def inversion_panel(*, network="vgg16", image="chelsea", layer="block4_conv2", size=128, iterations=100,
                    regularization=1.0, recipe="pyramid", seed=0, out="runs/panel"):  # fmt: skip
    """A box that inverts a layer's features of a photograph; options: what its controls say at first.
    out: the folder that Save writes into. InputError for an unknown network."""

    def follow(change):
        found = networks.load(change["new"]).main
        layers.beside[0].max = len(found) - 1
        layers.options, layers.index = found, len(found) // 2

    main = networks.load(network).main
    chosen = {"options": main, "value": layer if layer in main else main[len(main) // 2]}
    layers = _slider(w.SelectionSlider, w.BoundedIntText, "layer", (0, len(main) - 1), trait="index", **chosen)
    asked, ways = _choice("network", networks.embedded(), network), _choice("recipe", recipes.INVERSION, recipe)
    asked.observe(follow, "value")
    controls = {"network": asked, "image": _photographs(image), "layer": layers}
    controls |= _numbers(size, iterations, regularization, seed) | {"recipe": ways}
    words = lambda s, snapshot: (s["layer"], f"feature error {snapshot.terms['feature error']:.3f}")
    run = lambda p, s: inversion.invert(networks.load(s["network"]), p.photo(s), s["layer"], **p.options(s))
    return Panel("Invert a layer", controls, run=run, words=words, out=out)


def class_score_panel(*, network="efficientnet_lite0", class_="goldfish", size=128, iterations=128, regularization=1.0,
                      recipe="distill2017", seed=0, out="runs/panel"):  # fmt: skip
    """A box that makes images of a class; options: what its controls say at first; out: as for `inversion_panel`."""
    controls = _asked(network, class_) | _numbers(size, iterations, regularization, seed)
    controls["recipe"] = _choice("recipe", recipes.CLASS_IMAGE, recipe)
    words = lambda s, snapshot: (s["class"], f"score {-snapshot.terms['class score']:.1f}")
    run = lambda p, s: class_image.maximise(networks.load(s["network"]), s["class"], size=s["size"], **p.options(s))
    return Panel("Maximise a class score", controls, run=run, words=words, out=out)


def saliency_panel(*, network="efficientnet_lite0", image="chelsea", class_="", method="gradient", out="runs/panel"):
    """A box that answers each change with a map over the photograph, its mask and its box; no class: the likeliest."""
    controls = _asked(network, class_) | {"image": _photographs(image)}
    controls["method"] = _choice("method", saliency.METHODS, method)
    for name, limits, value in (("blend", (0.0, 1.0), 0.7), ("threshold", (0.5, 0.99), 0.95)):
        options = {"value": value, "step": 0.01, "continuous_update": False}
        controls[name] = _slider(w.FloatSlider, w.BoundedFloatText, name, limits, **options)
    panel = Panel("See what a score depends on", controls, run=_mapped, words=lambda s, found: found.words, out=out)
    for control in controls.values():
        control.observe(panel.start, "value")
    panel.start()
    return panel


def _mapped(panel, s):
    """The one result of a saliency panel, shaped like a Snapshot: map, object and box side by side."""
    begun, network = time.perf_counter(), networks.load(s["network"])
    photo = panel.photo(s | {"size": network.size})
    chosen = s["class"] or network.top(photo, k=1)[0][0]
    key = s["network"], s["image"], chosen, s["method"]
    if key not in panel.known:
        panel.known = {key: saliency.compute(s["method"], network, photo, chosen, **QUICK.get(s["method"], {}))}
    shown = [photo + s["blend"] * (plots.grey(panel.known[key]) - photo)]
    try:
        cut = segment.segment(photo, panel.known[key], foreground=s["threshold"])
        shown, said = [*shown, *plots.cut_out(photo, cut)], f"{cut.mask.mean():.0%} of the picture is object"
    except InputError as error:
        said = str(error)
    about = {"step": 1, "steps": 1, "terms": {}, "loss": 0.0, "words": (f"{s['method']} of {chosen}", said)}
    yield SimpleNamespace(image=np.hstack(shown), seconds=time.perf_counter() - begun, **about)


class Panel(w.VBox):
    """Controls, Run, Stop, Save, a status in words, a live picture and curve, and a strip of earlier results.
    run(panel, settings) → Snapshots, on the panel's one thread; words(settings, snapshot) → (what it is, how good)."""

    def __init__(self, title, controls, *, run, words, out):
        self.controls, self.run, self.words, self.out = controls, run, words, out
        self.uploads, self.known, self.result = {}, {}, None
        self.stop, self.busy, self.wanted, self.begun = threading.Event(), threading.Lock(), False, False
        self.buttons = {name: w.Button(description=name, disabled=name != "Run") for name in ("Run", "Stop", "Save")}
        for button, action in zip(self.buttons.values(), (self.start, self.halt, self.save), strict=True):
            button.on_click(action)
        self.progress, self.status = w.FloatProgress(max=1.0), w.Label("ready")
        self.picture, self.curve, self.strip = w.HTML(), w.HTML(), w.HBox(layout={"flex_flow": "row wrap"})
        for name, part in {"status": self.status, "picture": self.picture, "strip": self.strip, **self.buttons}.items():
            part.add_class(f"vz-{name.lower()}")
        for upload in controls["image"].beside if "image" in controls else ():
            upload.observe(self._uploaded, "value")
        rows = [w.HBox([control, *control.beside]) for control in controls.values()]
        bar, shown = w.HBox([*self.buttons.values(), self.progress]), w.HBox([self.picture, self.curve])
        wide = "<style>.vz-layer .widget-readout {max-width: none; width: 9em}</style>"  # names of layers are long
        super().__init__([w.HTML(f"{wide}<b>{html.escape(title)}</b>"), *rows, bar, self.status, shown, self.strip])

    def start(self, change=None):
        """Compute with the controls' settings. While that goes on, Run does nothing, and a changed control waits, as
        does Run after Stop: what TensorFlow is compiling cannot be broken off, and two never compute at once."""
        self.wanted = isinstance(change, dict) or self.stop.is_set()
        if self.busy.acquire(blocking=False):
            threading.Thread(target=self._compute, daemon=True).start()
        elif self.stop.is_set():
            self.status.value = "waiting until what was stopped has ended: some seconds"

    def halt(self, *_):
        """End what is being computed within a second; what it reached is kept."""
        self.wanted = False
        self.stop.set()
        self.status.value = ("stopping …" if self.begun else EARLY) if self.busy.locked() else self.status.value
        self.buttons["Run"].disabled, self.buttons["Stop"].disabled = False, True

    def _compute(self):
        self.begun = False
        self.stop.clear()
        self.buttons["Run"].disabled, self.buttons["Stop"].disabled = True, False
        self.status.value = "running: loading and compiling, which takes some seconds at first"
        try:
            time.sleep(0.05)  # controls that are set together, as by put_back, are read together
            self.wanted, settings = False, {name: control.value for name, control in self.controls.items()}
            self.status.value = self._follow(settings)
        except Exception as error:  # a thread's traceback would reach nobody
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self.status.value = kind + " ".join(str(error).split())[:300]
        for name, able in (("Run", True), ("Stop", False), ("Save", self.result)):
            self.buttons[name].disabled = not able
        self.busy.release()
        if self.wanted:
            self.start()

    def _follow(self, settings):
        """Show a run's snapshots as they come, and its last one in the strip; gives the status in words."""
        snapshots, due = [], 0.0
        for snapshot in self.run(self, settings):
            if self.stop.is_set() and not self.begun:
                return EARLY
            snapshots, self.begun = [*snapshots, snapshot], snapshot.step > 0
            if (begun := time.perf_counter()) > due and not self.stop.is_set():
                self._tell(settings, snapshots)
                due = time.perf_counter() + max(GAP, 4 * (time.perf_counter() - begun))  # drawing may take a fifth
        self._tell(settings, snapshots)
        self.result = settings, (last := snapshots[-1])
        what, quality = self.words(settings, last)
        state = f"stopped before {last.steps}" if self.stop.is_set() else "not finite any more, try less regularization"
        state = "done" if last.step == last.steps else state
        steps = f"{last.step} iterations, " if last.steps > 1 else ""
        about = f"{what}, {steps}{quality}, {last.seconds:.{int(last.seconds < 3)}f} s"
        again = w.Button(description=what, tooltip=f"put these settings back: {about}", layout={"width": "11em"})
        again.on_click(lambda _: self.put_back(settings))
        chosen = ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in settings.values())
        square = picture(last.image[:, : len(last.image)], about, width=140)
        small = w.HTML(f"{square}<br>{html.escape(f'{quality}; {chosen}')}")
        kept = w.VBox([small, again], layout={"width": "12em"})
        self.strip.children = (kept, *self.strip.children)[:KEPT]
        return f"{state}: {about}"

    def _tell(self, settings, snapshots):
        first, now = snapshots[:2][-1], snapshots[-1]  # before the first report it compiles
        what, quality = self.words(settings, now)
        rate = (now.step - first.step) / (now.seconds - first.seconds or 1.0)
        left = f", about {(now.steps - now.step) / rate:.0f} s left" if rate else ""
        self.progress.value = now.step / now.steps
        self.status.value = f"running: {what}, {now.step} of {now.steps}, {quality}{left}"
        self.picture.value = picture(now.image, f"{what} after {now.step} of {now.steps} iterations: {quality}")
        if now.terms:
            figure, stream = Figure(figsize=(4.2, 2.8), layout="tight"), io.BytesIO()
            plots.loss_curve(snapshots, ax=figure.add_subplot())
            figure.savefig(stream, format="png", dpi=80)
            alt = f"loss by step: {snapshots[0].loss:.3g} at first, {now.loss:.3g} after {now.step}"
            self.curve.value = _embedded(stream.getvalue(), alt, SHOWN)

    def put_back(self, settings):
        """Set the controls as they were for an earlier result."""
        for name, value in settings.items():
            self.controls[name].value = value
        self.status.value = "settings put back" if self.busy.locked() else "settings put back: press Run"

    def save(self, *_):
        """Write the last picture into the panel's folder, exactly as it was optimised."""
        name = "_".join(re.sub(r"\W+", "-", str(value)) for value in self.result[0].values())[:120]
        try:
            images.save(self.result[1].image, path := Path(self.out) / f"{name}.png")
            self.status.value = f"saved: {path}"
        except InputError as error:
            self.status.value = str(error)

    def options(self, settings):
        """What settings mean to `optimise.run`."""
        s, steps = settings, settings["iterations"]
        return {"recipe": s["recipe"], "steps": steps, "every": max(4, steps // 20), "strength": s["regularization"],
                "seeds": (s["seed"],), "stop": self.stop}  # fmt: skip

    def photo(self, settings):
        """The chosen photograph, or upload, (size, size, 3)."""
        return images.load(self.uploads.get(settings["image"], settings["image"]), size=settings["size"])

    def _uploaded(self, change):
        choice, kept = self.controls["image"], self.uploads
        for file in change["new"]:
            name, content = Path(file["name"]).name[-60:], bytes(file["content"])
            try:
                if len(content) > MEGABYTES * 2**20:
                    raise InputError(f"{name} has {len(content) / 2**20:.0f} MB, and {MEGABYTES} are taken: shrink it.")
                images.load(content)
            except InputError as error:
                self.status.value = str(error).replace("The uploaded file", name)
                continue
            kept[name := name if kept.get(name, content) == content else f"{len(kept)}-{name}"] = content
            choice.options = list(dict.fromkeys([*choice.options, name]))
            self.status.value, choice.value = f"uploaded: {name}", name

    def close(self):
        """End the computation, and then the widgets."""
        self.stop.set()
        super().close()


def picture(image, alt, *, width=SHOWN):
    """HTML of an image (H, W, 3) with its alternative text, as a JPEG of at most SHOWN px in height."""
    shown = images.resize(image, SHOWN) if image.shape[0] > SHOWN else image
    return _embedded(images.encode(shown, format="jpg"), alt, round(width * image.shape[1] / image.shape[0]))


def _embedded(content, alt, width):
    data = f"data:image/{'png' if content[1:4] == b'PNG' else 'jpeg'};base64,{base64.b64encode(content).decode()}"
    return f'<img alt="{html.escape(alt)}" width="{width}" src="{data}">'


def _control(kind, name, *, beside=(), width="30em", label="", **options):
    """A widget with a visible label, a tooltip and the class vz-<name>, and what stands beside it in its row."""
    tooltip = json.loads(Path(__file__).with_name("controls.json").read_text(encoding="utf-8"))[name]
    about = {"description": label or name, "tooltip": tooltip, "style": {"description_width": "11em"}}
    made = kind(**about, layout={"width": width}, **options)
    made.add_class(f"vz-{label or name}".replace(", ", "-"))
    made.beside = beside
    return made


def _slider(kind, twin, name, limits, *, trait="value", **options):
    """A slider and beside it its typed twin within limits: that has a name for screen readers, and takes keys."""
    limits = dict(zip(("min", "max"), limits, strict=True))
    typed = _control(twin, name, label=f"{name}, typed", width="20em", **limits)
    made = _control(kind, name, beside=(typed,), **(limits if trait == "value" else {}) | options)
    w.link((made, trait), (typed, "value"))
    return made


def _choice(name, known, value, **options):
    return _control(w.Dropdown, name, options=list(dict.fromkeys([*known, str(value)])), value=str(value), **options)


def _photographs(image):
    upload = w.FileUpload(accept="image/*", description=f"upload (at most {MEGABYTES} MB)", layout={"width": "17em"})
    upload.add_class("vz-upload")
    return _choice("image", images.samples(), image, beside=(upload,))


def _asked(network, class_):
    """The controls for a network and one of its classes, which follow it."""
    asked, known = _choice("network", networks.embedded(), network), networks.load(network).classes
    classes = _control(w.Combobox, "class", options=known, value=str(class_), continuous_update=False)
    asked.observe(lambda change: setattr(classes, "options", networks.load(change["new"]).classes), "value")
    return {"network": asked, "class": classes}


def _numbers(size, iterations, regularization, seed):
    """The sliders that both runs have, by name."""
    whole = {"size": (size, (32, 448), 32), "iterations": (iterations, (1, 1000), 1), "seed": (seed, (0, 99), 1)}
    made = {name: _slider(w.IntSlider, w.BoundedIntText, name, limits, value=value, step=step)
            for name, (value, limits, step) in whole.items()}  # fmt: skip
    powers = {"min": -2, "max": 2, "value": regularization}
    strength = _slider(w.FloatLogSlider, w.BoundedFloatText, "regularization", (0.01, 100.0), **powers)
    return made | {"regularization": strength}
