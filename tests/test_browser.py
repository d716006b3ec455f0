"""The panels in a real browser, in JupyterLab, Notebook 7 and Voilà, and in front of bare kernels of two generations.

Looks for Chromium on the path or in CHROMIUM; without it these tests are skipped. With FIGURES=folder it leaves
screenshots there."""

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import papermill
import pytest
from PIL import Image

from vizlib import images

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
ENVIRONMENT = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
TOKEN = "for-this-test"
browser_needed = pytest.mark.skipif(not CHROMIUM, reason="no Chromium: install it, or name it with CHROMIUM=/path")
QUICK = {"size": 64, "iterations": 4, "layer": "block3_conv1", "sections": "layers"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def options(target, after):
    """What the Makefile starts a server with, whatever the environment."""
    command = ["make", "--dry-run", "--no-print-directory", target]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    told = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in told.splitlines() if after in line]
    return shlex.split(line.split(after, 1)[1])


def jupyter(folder, port, app, address):
    settings = folder / "config/lab/user-settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    # cells out of sight are in the page too
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    source = ROOT / "notebooks/Inverting_convnet_representations.ipynb"
    papermill.execute_notebook(source, folder / "quick.ipynb", QUICK, prepare_only=True, progress_bar=False)
    command = [
        sys.executable,
        "-m",
        app,
        *options("lab", "lab --notebook-dir=notebooks"),
        f"--ServerApp.root_dir={folder}",
    ]
    command += ["--no-browser", "--allow-root", f"--port={port}", f"--IdentityProvider.token={TOKEN}"]
    return command, f"http://127.0.0.1:{port}/{address}/quick.ipynb?token={TOKEN}"


def lab(folder, port):
    return jupyter(folder, port, "jupyterlab", "lab/tree")


def notebook(folder, port):
    return jupyter(folder, port, "notebook", "notebooks")


def voila(folder, port):
    command = [sys.executable, "-m", "voila", str(ROOT / "notebooks/Panels.ipynb"), *options("app", "Panels.ipynb")]
    command += ["--no-browser", f"--port={port}", f"--Voila.token={TOKEN}"]
    return command, f"http://127.0.0.1:{port}/?token={TOKEN}"


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=[lab, notebook, voila])
def page(request, tmp_path_factory):
    playwright = pytest.importorskip("playwright.sync_api")
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command, url = request.param(folder, port)
    environment = ENVIRONMENT | {"JUPYTER_CONFIG_DIR": str(folder / "config"), "IPYTHONDIR": str(folder / "ipython")}
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        with playwright.sync_playwright() as driver:
            until(lambda: listening(port), 60, folder / "log")
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            opened = browser.new_page(viewport={"width": 1300, "height": 1250})
            opened.goto(url, timeout=60_000)
            if request.param is not voila:
                opened.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
                opened.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
                run_all_cells(opened)
                with contextlib.suppress(playwright.TimeoutError):  # seen once: cells that a new kernel never got
                    opened.locator(".vz-status").first.wait_for(timeout=150_000)
                if not opened.locator(".vz-status").count():
                    run_all_cells(opened)
            opened.locator(".vz-status").first.wait_for(timeout=300_000)  # on a busy machine
            opened.kind = request.param.__name__
            yield opened
            browser.close()
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


def run_all_cells(page, tries=3):
    """The menu's command, again where nothing started: a click can come before a new kernel is listened to."""
    started = page.locator(".jp-CodeCell .jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]")).first
    for _ in range(tries):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click(timeout=10_000)
        begun = time.perf_counter()
        while time.perf_counter() - begun < 10:
            if started.count():
                return
            page.wait_for_timeout(100)
    raise AssertionError("no cell was started")


def until(condition, seconds, log=None):
    begun = time.perf_counter()
    while not condition():
        assert time.perf_counter() - begun < seconds, log.read_text()[-2000:] if log else "waited in vain"
        time.sleep(0.05)
    return time.perf_counter() - begun


def said(page, pattern, seconds=60):
    """Seconds until the first panel's status begins with a pattern."""
    status = page.locator(".vz-status").first
    return until(lambda: re.match(pattern, status.inner_text()), seconds)


def typed(page, name, value):
    box = page.locator(f".vz-{name}-typed input").first
    box.fill(str(value))
    box.press("Enter")


def run(page):
    page.locator(".vz-run").first.click()


@browser_needed
def test_layer_by_keyboard_iterations_typed_strength_by_slider_then_run(page):
    handle = page.locator(".vz-layer [role=slider]").first
    before = page.locator(".vz-layer-typed input").first.input_value()
    # Notebook 7 takes arrow keys for itself wherever no text is typed
    less, more = ("PageDown", "PageUp") if page.kind == "notebook" else ("ArrowLeft", "ArrowRight")
    handle.focus()
    handle.press(less)
    until(lambda: page.locator(".vz-layer-typed input").first.input_value() != before, 10)
    typed(page, "layer", 6)  # block3_conv1
    typed(page, "size", 64)
    typed(page, "iterations", 6)
    strength = page.locator(".vz-regularization [role=slider]").first
    strength.focus()
    for _ in range(3):
        strength.press(more)
    until(lambda: float(page.locator(".vz-regularization-typed input").first.input_value()) > 1, 10)
    run(page)
    said(page, r"done: block3_conv\d, 6 iterations, feature error 0\.\d+", 90)
    first = page.locator(".vz-picture img").first.get_attribute("src")
    assert page.locator(".vz-picture img").first.get_attribute("alt")
    typed(page, "layer", 10)
    typed(page, "iterations", 40)
    run(page)
    said(page, r"done: block4_conv\d, 40 iterations", 90)
    assert page.locator(".vz-picture img").first.get_attribute("src") != first
    assert page.locator(".vz-strip").first.locator("img").count() == 2
    if "FIGURES" in os.environ and page.kind == "lab":
        page.locator(".vz-run").first.scroll_into_view_if_needed()
        page.screenshot(path=Path(os.environ["FIGURES"]) / "panel_inversion.png", animations="disabled")


@browser_needed
def test_class_image_and_saliency_map(page):
    if page.kind != "voila":
        pytest.skip("this page has the inversion panel only")
    score, maps = (page.locator(".vz-status").nth(k) for k in (1, 2))
    for name, value in (("size", 96), ("iterations", 48)):
        box = page.locator(f".vz-{name}-typed input").nth(1)
        box.fill(str(value))
        box.press("Enter")
    page.locator(".vz-run").nth(1).click()
    until(lambda: re.match(r"done: goldfish, 48 iterations, score \d", score.inner_text()), 90)
    page.locator(".vz-method select").select_option("grad_cam")
    until(lambda: re.match(r"done: grad_cam of .* of the picture is object", maps.inner_text()), 60)
    assert page.locator(".vz-picture").nth(2).locator("img").get_attribute("alt").startswith("grad_cam of")
    if "FIGURES" in os.environ:
        page.set_viewport_size({"width": 1060, "height": 3400})
        top = page.get_by_text("2. What does a class look like").bounding_box()["y"]
        end = page.locator(".vz-strip").nth(2).bounding_box()
        clip = {"x": 0, "y": top, "width": 1060, "height": end["y"] + end["height"] - top}
        page.screenshot(path=Path(os.environ["FIGURES"]) / "panel_scores.png", animations="disabled", clip=clip)


@browser_needed
def test_stop_mid_run_within_a_second(page):
    typed(page, "iterations", 1000)
    run(page)
    said(page, r"running: block\d_conv\d, [1-9]\d* of 1000", 90)
    page.locator(".vz-stop").first.click()
    assert said(page, r"stopped before 1000: ", 20) < 1


@browser_needed
def test_a_photograph_and_a_file_that_is_none_are_uploaded(page, tmp_path):
    Image.fromarray(images.to_uint8(images.load("coffee", size=300))).save(tmp_path / "my photo.jpg")
    (tmp_path / "notes.jpg").write_bytes(b"no picture")
    for name, pattern in (("notes.jpg", r".*is not a picture"), ("my photo.jpg", r"uploaded: my photo\.jpg")):
        with page.expect_file_chooser() as chooser:
            page.locator(".vz-upload").first.click()
        chooser.value.set_files(tmp_path / name)
        said(page, pattern, 20)
    typed(page, "iterations", 5)
    run(page)
    said(page, r"done: ", 60)


@browser_needed
def test_without_the_token_there_is_no_page(page):
    stranger = page.context.browser.new_context().new_page()
    stranger.goto(page.url.split("?")[0])
    assert stranger.locator(".vz-status").count() == 0
    assert "password" in stranger.content().lower() or "403" in stranger.content()
    stranger.context.close()


@browser_needed
def test_a_file_over_the_limit_is_refused_in_words(page, tmp_path):
    (tmp_path / "large.jpg").write_bytes(bytes(11 * 2**20))
    with page.expect_file_chooser() as chooser:
        page.locator(".vz-upload").first.click()
    chooser.value.set_files(tmp_path / "large.jpg")
    said(page, r"large\.jpg has 11 MB", 30)


KERNEL = """
from vizlib import widgets
panel = widgets.inversion_panel(size=64, iterations=1000, layer="block3_conv1")
parts = {**panel.buttons, "status": panel.status}
print({name: part.model_id for name, part in parts.items()}, flush=True)
"""


def stop_without_a_browser(path):
    """(ipykernel's version, seconds from a click on Stop to its effect while the first step compiles, and mid-run), as
    a front end sees them, with packages from `path` first."""
    from jupyter_client.manager import start_new_kernel

    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([*path, str(ROOT)])}
    manager, client = start_new_kernel(kernel_name="python3", env=environment, cwd=str(ROOT))
    try:
        client.execute("import ipykernel; print(ipykernel.__version__)" + KERNEL)
        text, ids = "", None
        begun = time.perf_counter()
        while not ids and time.perf_counter() - begun < 60:
            message = client.get_iopub_msg(timeout=60)
            text += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
            ids = re.search(r"\{'Run'.*\}", text)
        ids = eval(ids[0])

        def click(name):
            content = {"comm_id": ids[name], "data": {"method": "custom", "content": {"event": "click"}}}
            client.shell_channel.send(client.session.msg("comm_msg", content))

        def status(pattern):
            while True:
                content = client.get_iopub_msg(timeout=60)["content"]
                now = (
                    content.get("data", {}).get("state", {}).get("value", "")
                    if content.get("comm_id") == ids["status"]
                    else ""
                )
                if re.match(pattern, now):
                    return time.perf_counter()

        def stopped(running, pattern):
            click("Run")
            status(running)
            begun = time.perf_counter()
            click("Stop")
            return status(pattern) - begun

        early = stopped("running: block3_conv1, 0 of 1000", "stopped before the first iteration")
        late = stopped(r"running: block3_conv1, [1-9]\d* of 1000", "stopped before 1000")
        return text.split()[0], early, late
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_stop_reaches_a_computing_kernel():
    version, *seconds = stop_without_a_browser([])
    assert int(version.split(".")[0]) >= 7 and max(seconds) < 1


@pytest.mark.slow
def test_stop_reaches_a_computing_kernel_of_the_generation_before(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        tmp_path,
        "ipykernel==6.31.0",
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("ipykernel 6.31 could not be installed: it needs a network")
    version, *seconds = stop_without_a_browser([str(tmp_path)])
    assert version == "6.31.0" and max(seconds) < 1
