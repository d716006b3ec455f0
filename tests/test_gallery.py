"""A sweep's table and page: made from a toy sweep whose texts are hostile, and opened in a browser from the disk."""

import html.parser
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import toy

from vizlib import images
from vizlib.errors import InputError
from viztools import commands, gallery, points, records

HOSTILE = '<script>alert("hit")</script>'


@pytest.fixture
def out(tmp_path):
    """Six points by two parameters, one of them failed, as a sweep leaves them; no kernel is started."""
    notebook, out = toy.write(tmp_path / f"a_long_{'name' * 12}.ipynb"), tmp_path / "a <b>sweep"
    for mode in ("fine", HOSTILE):
        for number in (10, 9, 8):
            point = points.point(notebook, {"mode": mode, "number": number, "names": [HOSTILE]}, out=out)
            error = HOSTILE if (mode, number) == ("fine", 8) else ""
            images.save(np.full((16, 16, 3), number / 10), f"{point['folder']}/picture {number}.png")
            images.save(np.zeros((16, 16, 3)), f"{point['folder']}/original.png")
            numbers = {"layers": {mode: {"half": number / 2, "same": 1}}, "versions": {"x": 3}, "parameters": {"y": 4}}
            (out / point["id"] / "summary.json").write_text(json.dumps(numbers | {"seconds": 7}))
            shutil.copy(notebook, out / point["id"] / ("failed.ipynb" if error else notebook.name))
            records.append(out, records.record(point, error=error, fault="parameters" if error else "", seconds=2.5))
    return out


class Page(html.parser.HTMLParser):
    """Every start tag with its attributes, and all text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += "" if self.inside in ("script", "style") else data


def test_the_table_has_a_row_a_point_and_a_column_a_number(out):
    table = gallery.frame(out)
    assert len(table) == 6 and list(table["half"]) == [5.0, 4.5, 4.0] * 2
    assert {"id", "mode", "number", "status", "seconds", "memory", "error"} <= set(table) and not {"x", "y"} & set(
        table
    )
    written = pd.read_csv(gallery.write_table(out))
    assert list(written["half"]) == list(table["half"]) and list(written["number"]) == [10, 9, 8] * 2
    parquet = pd.read_parquet(gallery.write_table(out, out / "numbers.parquet"))
    assert list(parquet["half"]) == list(table["half"]) and set(parquet) == set(written)
    with pytest.raises(InputError, match=r"\.csv, \.parquet"):
        gallery.write_table(out, out / "table.xlsx")


def test_of_equal_parameters_the_newest_is_shown_and_long_names_keep_their_ends(out, tmp_path):
    old = points.point(
        tmp_path / f"a_long_{'name' * 12}.ipynb", {"mode": "fine", "number": 10, "names": [HOSTILE]}, out=out
    )
    new = old | {"id": "0" * 16, "folder": str(out / ("0" * 16))}
    (out / new["id"]).mkdir()
    records.append(out, records.record(new) | {"ended": "2999-01-01T00:00:00+00:00"})
    ids = list(gallery.frame(out)["id"])
    assert len(ids) == 6 and new["id"] in ids and old["id"] not in ids
    first, second = (gallery._text(f"image /home/somebody/photographs/image{n}.jpg") for n in (1, 2))
    assert first != second and len(first) == 30


def test_a_level_with_one_entry_gives_no_name_and_ambiguous_names_stay_long():
    assert gallery._numbers({"layers": {"block3": {"a": 1}}}) == {"layers.a": 1}
    several = gallery._numbers({"layers": {"b3": {"a": 1}, "b4": {"a": 2}}, "said": "x", "list": [1], "flag": True})
    assert several == {"layers.b3.a": 1, "layers.b4.a": 2}


def test_the_page_shows_every_point_and_escapes_every_text(out):
    page = Page(gallery.write(out, rows="mode", columns="number").read_text())
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert all(a["src"].startswith("data:image/") and a["alt"] for a in pictures)
    assert len([a for a in pictures if a["alt"].startswith("picture")]) == 5, "not the originals, not the failed one"
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1 and HOSTILE in page.text
    assert "a <b>sweep" in page.text and not [tag for tag, _ in page.tags if tag == "b"]
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    assert len(links) == 6 and all((out / link).exists() for link in links)
    assert not [a for _, a in page.tags if any(str(v).startswith(("http:", "https:", "//")) for v in a.values())]
    with pytest.raises(InputError, match="did you mean number"):
        gallery.write(out, rows="numbr")


def test_both_notebooks_unset_parameters_and_odd_files_on_one_page(out, tmp_path):
    other = toy.write(tmp_path / "other.ipynb")
    for number, given in enumerate(({}, {"number": 1}, {"number": 2, "names": []})):
        point = points.point(other, given, out=out)
        images.save(np.zeros((16, 16, 3)), f"{point['folder']}/one.png")
        (out / point["id"] / "torn.png").write_bytes(b"\x89PNG no more")
        odd = [1] if number == 0 else {"$\\frac{$": number, "status": 3.0}
        (out / point["id"] / "summary.json").write_text(json.dumps(odd))
        records.append(out, records.record(point))
    table = gallery.frame(out)
    assert list(table[table.notebook == "other"]["number"]) == [0, 1, 2], "unset is the notebook's default"
    assert set(table["status"]) == {"done", "failed"}
    page = Page(gallery.write(out).read_text())
    pictures = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert (
        sum(alt.startswith("one:") for alt in pictures) == 3 and sum(alt.startswith("picture") for alt in pictures) == 5
    )
    assert "nan" not in page.text and [tag for tag, _ in page.tags].count("h2") == 3
    with pytest.raises(InputError, match="both number"):
        gallery.write(out, rows="number", columns="number")


def test_commands_and_folders_without_a_sweep(out, tmp_path, capsys, monkeypatch):
    assert commands.main(["gallery", str(out)]) == 0 == commands.main(["table", str(out)])
    assert "gallery.html" in capsys.readouterr().out
    monkeypatch.setenv("HOME", str(out.parent))
    assert commands.main(["table", f"~/{out.name}", "--out=~/all.csv"]) == 0 and (out.parent / "all.csv").exists()
    assert commands.main(["gallery", str(tmp_path)]) == 2 and "no ledger with points" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium")
def test_in_a_browser_from_the_disk_at_a_desk_and_on_a_phone(out):
    from playwright.sync_api import sync_playwright

    path, asked, said = gallery.write(out), [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        column = lambda: [cell.inner_text() for cell in page.locator(".numbers tbody tr td:nth-child(3)").all()]
        sort = page.get_by_role("button", name="number", exact=True)
        sort.focus()
        page.keyboard.press("Enter")
        assert column() == ["8", "8", "9", "9", "10", "10"], "numbers, not texts"
        sort.click()
        assert column() == ["10", "10", "9", "9", "8", "8"]
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "the page itself does not scroll sideways"
        assert page.locator(".grid tbody th").first.bounding_box()["width"] > 70, "row headings keep room to be read"
        browser.close()
    assert said == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []
