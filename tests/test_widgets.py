"""Panels without a browser: one thread, a Stop that stops, uploads checked, settings that come back."""

import html
import io
import re
import threading
import time
from types import SimpleNamespace

import ipywidgets as w
import numpy as np
import pytest
from PIL import Image

from vizlib import images, widgets

RNG = np.random.default_rng(0)
PICTURE = RNG.random((16, 16, 3)).astype(np.float32)


def wait(condition, seconds=60):
    begun = time.perf_counter()
    while not condition():
        assert time.perf_counter() - begun < seconds, "waited in vain"
        time.sleep(0.01)
    return time.perf_counter() - begun


def finish(panel):
    wait(lambda: not panel.busy.locked() and not panel.wanted)
    return panel.status.value


def snapshot(step, steps, seconds=0.0):
    about = {"terms": {"error": 1 / (step + 1)}, "loss": 1 / (step + 1)}
    return SimpleNamespace(step=step, steps=steps, image=PICTURE, seconds=seconds, **about)


def panel(run, **controls):
    made = {"size": w.IntSlider(value=3)} | controls
    for control in made.values():
        control.beside = getattr(control, "beside", ())
    return widgets.Panel("test", made, run=run, words=lambda s, now: ("it", f"{now.loss:.2f} good"), out="nowhere")


@pytest.fixture(scope="module")
def inversion():
    made = widgets.inversion_panel(size=64, iterations=8, layer="block2_conv1")
    yield made
    made.close()


def test_a_run_ends_in_words_with_a_picture_a_curve_and_a_place_in_the_strip(inversion):
    before = len(inversion.strip.children)
    inversion.buttons["Run"].click()
    said = finish(inversion)
    assert re.fullmatch(r"done: block2_conv1, 8 iterations, feature error 0\.\d{3}, [\d.]+ s", said)
    assert inversion.progress.value == 1 and len(inversion.strip.children) == before + 1
    for shown, kind in ((inversion.picture, "jpeg"), (inversion.curve, "png")):
        assert f"data:image/{kind};base64," in shown.value and re.search('alt="[^"]{20,}"', shown.value)
        assert len(shown.value) < 200_000


def test_stop_stops_within_a_second_and_keeps_what_there_is(inversion):
    inversion.controls["iterations"].value = 1000
    inversion.buttons["Run"].click()
    wait(lambda: re.search(r"running: .* [1-9]\d* of 1000", inversion.status.value))
    assert inversion.buttons["Run"].disabled and not inversion.buttons["Stop"].disabled
    inversion.buttons["Stop"].click()
    assert wait(lambda: not inversion.busy.locked()) < 1
    assert re.match(r"stopped before 1000: block2_conv1, \d+ iterations, feature error", inversion.status.value)
    assert inversion.buttons["Stop"].disabled and not inversion.buttons["Run"].disabled


def test_a_click_puts_settings_back(inversion):
    inversion.controls["iterations"].value, inversion.controls["regularization"].value = 5, 3.0
    inversion.buttons["Run"].click()
    finish(inversion)
    kept = {name: control.value for name, control in inversion.controls.items()}
    inversion.controls["iterations"].value, inversion.controls["layer"].value = 300, "block4_conv1"
    inversion.strip.children[0].children[-1].click()
    assert {name: control.value for name, control in inversion.controls.items()} == kept


def test_save_writes_the_picture_as_it_is(inversion, tmp_path):
    inversion.out = tmp_path
    inversion.buttons["Save"].click()
    (path,) = tmp_path.glob("*.png")
    assert str(path) in inversion.status.value
    np.testing.assert_allclose(images.load(path), inversion.result[1].image, atol=1 / 255)


def test_sliders_and_their_typed_twins_move_each_other(inversion):
    for name, low, high in (("iterations", 1, 1000), ("regularization", 0.01, 100.0), ("size", 32, 448)):
        control = inversion.controls[name]
        (typed,) = control.beside
        assert typed.description == f"{name}, typed" and typed.tooltip == control.tooltip
        typed.value = 64
        assert control.value == 64
        typed.value = 10**6
        assert control.value == high
        control.value = low
        assert typed.value == low
    layer = inversion.controls["layer"]
    layer.beside[0].value = 4
    assert layer.value == layer.options[4]


def test_another_network_brings_its_layers(inversion):
    inversion.controls["network"].value = "efficientnet_lite0"
    layer = inversion.controls["layer"]
    assert "block3b_add" in layer.options and layer.value in layer.options
    assert layer.beside[0].max == len(layer.options) - 1 and layer.options[layer.beside[0].value] == layer.value
    inversion.controls["network"].value = "vgg16"


def test_never_two_at_once_and_sliders_change_nothing_until_run():
    inside, most, seen, go = [0], [0], [], threading.Event()

    def run(panel, settings):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        seen.append(settings["size"])
        yield snapshot(0, 1)
        go.wait(10)
        seen.append(settings["size"])
        yield snapshot(1, 1)
        inside[0] -= 1

    made = panel(run)
    for value in (3, 4):
        made.controls["size"].value = value
        made.buttons["Run"].click()
        wait(lambda: seen)
    assert seen == [3]
    go.set()
    finish(made)
    assert most == [1] and seen == [3, 3], "a second press of Run is refused"
    go.clear()
    made.controls["size"].observe(made.start, "value")
    for value in (5, 6, 7):
        made.controls["size"].value = value
        wait(lambda: seen[2:])
    go.set()
    finish(made)
    assert most == [1] and seen[2:] == [5, 5, 7, 7], "of the changes that waited, the last"


def test_stop_is_heard_while_the_first_step_still_compiles_and_run_waits_for_its_end():
    inside, most, go = [0], [0], threading.Event()

    def run(panel, settings):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        yield snapshot(0, 9)
        go.wait(10)
        inside[0] -= 1
        yield snapshot(9, 9)

    made = panel(run)
    made.buttons["Run"].click()
    wait(lambda: "0 of 9" in made.status.value)
    made.buttons["Stop"].click()
    assert made.status.value.startswith("stopped before the first iteration") and made.buttons["Stop"].disabled
    made.buttons["Run"].click()
    assert made.status.value.startswith("waiting until") and inside == [1]
    go.set()
    assert finish(made).startswith("done") and most == [1] and len(made.strip.children) == 1


def test_an_exception_is_a_sentence_in_the_status():
    def run(panel, settings):
        yield snapshot(0, 1)
        raise ZeroDivisionError("division by\nzero")

    made = panel(run)
    made.start()
    assert finish(made) == "ZeroDivisionError: division by zero"
    assert not made.buttons["Run"].disabled


def test_at_most_five_updates_a_second():
    def run(panel, settings):
        for k in range(400):
            time.sleep(0.002)
            yield snapshot(k, 399)

    made, shown = panel(run), []
    made.picture.observe(lambda change: shown.append(time.perf_counter()), "value")
    begun = time.perf_counter()
    made.start()
    finish(made)
    assert 2 <= len(shown) <= 2 + 5 * (time.perf_counter() - begun)


def test_closing_ends_the_thread():
    def run(panel, settings):
        for k in range(10_000):
            if panel.stop.wait(0.01):
                return
            yield snapshot(k, 10_000)

    made = panel(run)
    before = threading.active_count()
    made.start()
    wait(lambda: "running" in made.status.value and threading.active_count() == before + 1)
    made.close()
    assert wait(lambda: threading.active_count() == before) < 1


def test_a_late_stop_leaves_the_result_and_no_time_is_told_before_it_is_known():
    said = []

    def run(panel, settings):
        for step in (0, 5, 10):
            yield snapshot(step, 10, seconds=step)
            said.append(panel.status.value)

    made = panel(run)
    made.start()
    done = finish(made)
    made.halt()
    assert done.startswith("done: ") and made.status.value == done
    assert said and not any("about 0 s" in status for status in said)


def test_a_run_that_is_not_finite_any_more_says_so():
    made = panel(lambda panel, settings: iter([snapshot(0, 9), snapshot(3, 9)]))
    made.start()
    assert finish(made).startswith("not finite any more, try less regularization: it, 3 iterations")


def upload(panel, name, content):
    panel._uploaded({"new": ({"name": name, "content": memoryview(content)},)})
    return panel.status.value


def test_uploads_pass_the_gate_or_are_refused_in_a_sentence(inversion):
    Image.fromarray(images.to_uint8(PICTURE)).save(stream := io.BytesIO(), "PNG")
    evil = '<img src=x onerror="alert(1)">.png'
    assert upload(inversion, evil, stream.getvalue()) == f"uploaded: {evil}"
    assert inversion.controls["image"].value == evil
    settings = {name: control.value for name, control in inversion.controls.items()} | {"size": 16}
    np.testing.assert_allclose(inversion.photo(settings), PICTURE, atol=1 / 255)
    assert "is not a picture" in upload(inversion, "notes.txt", b"no picture")
    assert "11 MB" in upload(inversion, "large.jpg", bytes(11 * 2**20))
    assert "notes.txt" not in inversion.controls["image"].options
    Image.fromarray(images.to_uint8(1 - PICTURE)).save(other := io.BytesIO(), "PNG")
    assert upload(inversion, evil, stream.getvalue()) == f"uploaded: {evil}", "the same again"
    said = upload(inversion, evil, other.getvalue())
    assert said.startswith("uploaded: ") and said != f"uploaded: {evil}", "another photograph of the same name"
    assert inversion.controls["image"].value in said
    np.testing.assert_allclose(inversion.photo(settings), PICTURE, atol=1 / 255)
    again = settings | {"image": inversion.controls["image"].value}
    np.testing.assert_allclose(inversion.photo(again), 1 - PICTURE, atol=1 / 255)
    assert "<img src=x" not in widgets.picture(PICTURE, evil) and html.escape(evil) in widgets.picture(PICTURE, evil)
    inversion.controls["image"].value = "chelsea"


def test_a_class_image_and_a_class_that_does_not_exist():
    made = widgets.class_score_panel(size=64, iterations=6)
    made.start()
    assert re.match(r"done: goldfish, 6 iterations, score -?\d", finish(made))
    made.controls["class"].value = "goldfisch"
    made.start()
    assert "did you mean goldfish" in finish(made)
    made.controls["network"].value = "vgg16"
    made.start()
    assert "no classifier" in finish(made)


def test_the_saliency_panel_answers_every_change_with_the_last():
    made = widgets.saliency_panel()
    assert re.match(r"done: gradient of .*, \d+% of the picture is object", finish(made))
    before = made.picture.value
    for value in (0.1, 0.2, 0.9):
        made.controls["blend"].value = value
    finish(made)
    assert made.picture.value != before and made.result[0]["blend"] == 0.9
    assert made.result[1].image.shape == (224, 3 * 224, 3)
    made.controls["class"].value = "tabby"
    assert "tabby" in finish(made)
    shown = len(made.strip.children)
    made.put_back(made.result[0] | {"class": "goldfish", "method": "grad_cam", "blend": 0.5})
    assert "put back" in made.status.value and "press Run" not in made.status.value
    assert "grad_cam of goldfish" in finish(made) and len(made.strip.children) == shown + 1, "one result, not a mixture"


@pytest.mark.parametrize(
    ("asked", "environment", "alive"), [(False, {}, False), (True, {}, True), (False, {"JPY_SESSION_NAME": "x"}, True)]
)
def test_panels_come_alive_for_a_person_only(asked, environment, alive, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert widgets.live(asked) is alive
