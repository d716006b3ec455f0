"""One exercise in JupyterLab in a real browser, from opening to the green check, by keyboard."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from test_browser import CHROMIUM, ENVIRONMENT, TOKEN, browser_needed, free_port, listening, options, until

ROOT = Path(__file__).resolve().parents[1]
NAME = "e09_receptive_field"


@pytest.fixture
def page(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    settings = tmp_path / "config/lab/user-settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    shutil.copy(ROOT / f"notebooks/exercises/{NAME}.ipynb", tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", *options("lab", "lab --notebook-dir=notebooks"), "--no-browser"]
    command += [
        f"--ServerApp.root_dir={tmp_path}",
        "--allow-root",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
    ]
    environment = ENVIRONMENT | {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        with playwright.sync_playwright() as driver:
            until(lambda: listening(port), 60, tmp_path / "log")
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            opened = browser.new_page(viewport={"width": 1300, "height": 1250})
            opened.goto(f"http://127.0.0.1:{port}/lab/tree/{NAME}.ipynb?token={TOKEN}", timeout=60_000)
            opened.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
            opened.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
            yield opened
            browser.close()
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


def solution():
    (cell,) = [c for c in nbformat.read(ROOT / f"notebooks/solutions/{NAME}.ipynb", 4).cells if c.id == "e09-solution"]
    return re.sub(r" *### (BEGIN|END) SOLUTION\n?", "", cell.source)


def run(page, begin, count, output, words, tries=5):
    """Go to a cell, run so many, and wait for words in an output; again where JupyterLab, which had not yet heard of
    its new kernel, lost the first ones."""
    for _ in range(tries):
        begin()
        for _ in range(count):
            page.keyboard.press("Shift+Enter")
        begun = time.perf_counter()
        while time.perf_counter() - begun < 15:
            if words in output.inner_text():
                return
            page.wait_for_timeout(100)
    raise AssertionError(output.inner_text())


@browser_needed
def test_from_opening_to_the_green_check_by_keyboard(page):
    cells = page.locator(".jp-Notebook .jp-Cell")
    checked = cells.filter(has_text='check.exercise("e09", receptive_field)').locator(".jp-OutputArea").first
    page.wait_for_timeout(2000)
    run(page, cells.first.click, 8, checked, "not yet")
    assert "nothing is written yet; a hint: draw two cells" in checked.inner_text()
    assert "Traceback" not in checked.inner_text()
    hint = cells.filter(has_text="Hint").locator("details").first
    assert hint.get_attribute("open") is None
    hint.locator("summary").focus()
    page.keyboard.press("Enter")
    assert hint.get_attribute("open") is not None

    def write():
        cells.filter(has_text="def receptive_field").locator(".cm-content").first.focus()
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(solution())

    run(page, write, 4, checked, "✓ passed: e09 (one layer; deep stacks)")
    colour = checked.locator(".ansi-green-fg").first
    assert colour.inner_text() == "✓ passed"
    for _ in range(4):
        page.keyboard.press("Shift+Enter")
    picture = page.locator(".jp-OutputArea img").first
    picture.wait_for(timeout=90_000)
    assert "inversions of the middle" in picture.get_attribute("alt")
    if "FIGURES" in os.environ:
        page.screenshot(path=Path(os.environ["FIGURES"]) / "exercise.png", animations="disabled")
