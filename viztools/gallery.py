"""A sweep as a table and as one page: pictures by two parameters, numbers, plots. Needs the extra `sweep`."""

import base64
import contextlib
import io
import json
import urllib.parse
from collections import Counter
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vizlib import files, images, plots
from vizlib.errors import InputError, unknown
from viztools import points, records

THUMB, MOST = 168, 4  # px a picture; pictures a point, and numbers that are plotted
# pictures that a notebook saves besides those it optimised
BESIDES = ("original", "layers", "class_images")
ABOUT = ("id", "status", "seconds", "memory", "fault", "error")
ABSENT = "–"  # a parameter that another notebook has


def frame(out):
    """A row a point: its id, status, parameters, and every number of its summary (by its last name where that is the
    only one of it); of points with equal parameters, from before and after a change of code or of a photograph, the
    newest. InputError where there is no ledger."""
    found = records.ledger(out)
    if not found:
        raise InputError(f"{out} has no ledger with points: give the folder of a sweep.")
    asked = lambda r: (r["notebook"], json.dumps(r["parameters"], sort_keys=True))
    newest = {asked(r): r for r in sorted(found.values(), key=lambda r: r["ended"])}.values()
    names = list(dict.fromkeys(name for r in newest for name in r["parameters"]))
    rows = [_row(record, names, Path(out) / record["id"]) for record in newest]
    last = Counter(name.rpartition(".")[2] for name in {n for _, numbers in rows for n in numbers})
    taken = (*ABOUT, *names, "notebook")
    short = lambda name: end if last[end := name.rpartition(".")[2]] == 1 and end not in taken else f"summary.{name}"
    table = pd.DataFrame([about | {short(n): v for n, v in numbers.items()} for about, numbers in rows])
    table = table.astype(dict.fromkeys(names, object))
    table.attrs |= {"parameters": names, "numbers": [c for c in table if c not in taken]}
    return table


def _row(record, names, folder):
    about = {key: record[key] for key in ABOUT} | {"notebook": Path(record["notebook"]).stem}
    given, unset = record["parameters"], _defaults(record["notebook"])
    about |= {name: _plain(given[name] if name in given else unset.get(name, ABSENT)) for name in names}
    try:
        summary = dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        summary = {}
    told = ("parameters", "versions", "seconds", "estimate")  # elsewhere, or no result
    return about, _numbers({k: v for k, v in summary.items() if k not in told})


def _defaults(notebook):
    try:
        return {name: default for name, (_, default) in points.declared(notebook).items()}
    except InputError:  # it was moved since
        return {}


def _plain(value):
    """A parameter as one value that sorts: lists as text, None by its name."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value if value is not None else "None"


def _numbers(content, name=""):
    """{dotted name: number} of nested mappings; a level with one entry, as of a single layer, gives no name."""
    found = {}
    for key, value in content.items():
        path = f"{name}.{key}".lstrip(".")
        if isinstance(value, dict):
            found |= _numbers(value, name if name and len(content) == 1 else path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[path] = value
    return found


def write_table(out, path=None):
    """Write `frame` as .csv or .parquet; gives the path."""
    path = Path(path or Path(out) / "table.csv")
    table, stream = frame(out), io.BytesIO()
    if path.suffix == ".parquet":
        table.astype({c: str for c in table if table[c].map(type).nunique() > 1}).to_parquet(stream)
    elif path.suffix == ".csv":
        table.to_csv(stream, index=False)
    else:
        raise unknown("table format", path.suffix, (".csv", ".parquet"))
    files.write(path, stream.getvalue())
    return path


def write(out, *, rows=None, columns=None):
    """Write out/gallery.html, one file that needs nothing else but the executed notebooks that it links to.
    rows, columns: parameters by which pictures are laid out, by default the two first that vary; gives the path."""
    table, out = frame(out), Path(out)
    names, numbers = table.attrs["parameters"], table.attrs["numbers"]
    if rows and rows == columns:
        raise InputError(f"rows and columns are both {rows}: give two parameters, or one.")
    parts = [_part(part, out, names, numbers, rows, columns) for _, part in table.groupby("notebook")]
    fixed = {n: table[n].iloc[0] for n in ("notebook", *names) if table[n].nunique() == 1}
    shown = [n for n in ("notebook", *names) if n not in fixed]
    shown = ["id", *shown, "status", "seconds", "memory", *numbers, "error"]
    done = int((table.status == "done").sum())
    cells = table.to_dict("records")
    page = _template().render(
        title=out.resolve().name, parts=parts, names=shown, table=cells, fixed=fixed, done=done, link=_link
    )
    files.write(path := out / "gallery.html", page.encode())
    return path


def _part(table, out, names, numbers, rows, columns):
    """What the page shows of one notebook's points: pictures by two parameters, and plots of the numbers."""
    rows, columns = _axes(table, names, rows, columns)
    both = [axes for axes in ((rows, columns), (columns, rows)) if table[axes[0]].nunique() > 1]
    drawn = [_plot(table, n, *axes) for n in _telling(table, numbers) for axes in both]
    return {"notebook": table.notebook.iloc[0], "rows": rows, "columns": columns, "heads": _values(table, columns),
            "grid": _grid(table, out, rows, columns, names), "plots": drawn}  # fmt: skip


def _axes(table, names, rows, columns):
    for given in (rows, columns):
        if given and given not in names:
            raise unknown("parameter of this sweep", given, names)
    varying = [n for n in names if table[n].nunique() > 1 and n not in (rows, columns)]
    rows = rows or (varying.pop(0) if varying else next((n for n in names if n != columns), "notebook"))
    return rows, columns or (varying[0] if varying else "notebook")


def _values(table, name):
    return sorted(table[name].unique(), key=lambda value: (isinstance(value, str), value))


def _grid(table, out, rows, columns, names):
    """[(row's value, [cells]), …]; a cell is the list of its points, each with its pictures as data."""
    grid = []
    for value in _values(table, rows):
        line = table[table[rows] == value]
        cells = [line[line[columns] == head].to_dict("records") for head in _values(table, columns)]
        grid.append(
            (
                value,
                [[point | {"pictures": _pictures(point, out, names)} for point in cell] for cell in cells],
            )
        )
    return grid


def _pictures(point, out, names):
    """[(data, alternative text)] of a point's optimised images, at most MOST."""
    paths = [p for p in sorted((out / point["id"]).glob("*.png")) if p.stem not in BESIDES]
    said = ", ".join(f"{n} {point[n]}" for n in names)
    found = []
    for path in paths[:MOST] if point["status"] == "done" else ():
        with contextlib.suppress(InputError):  # a torn picture is left out
            content = images.encode(images.resize(images.load(path), THUMB), format="jpg")
            found.append((_data(content, "jpeg"), f"{path.stem}: {said}"))
    return found


def _data(content, kind):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _link(point):
    return urllib.parse.quote(f"{point['id']}/{point['notebook'] if point['status'] == 'done' else 'failed'}.ipynb")


def _telling(table, numbers):
    """The numbers worth a plot: those that differ from point to point, the first few."""
    return [n for n in numbers if table[n].nunique() > 1 and np.isfinite(table[n].dropna()).all()][:MOST]


def _plot(table, number, rows, columns):
    """(data, alternative text): a number by the rows' parameter, a line a value of the columns'."""
    mean = table.pivot_table(index=rows, columns=columns, values=number)
    low, high = np.nanmin(mean.to_numpy()), np.nanmax(mean.to_numpy())
    figure, stream = Figure(figsize=(6.2, 3.2), layout="constrained"), io.BytesIO()
    series = {_text(f"{columns} {head}"): mean[head].to_numpy() for head in mean}
    ax, log = figure.add_subplot(), bool(low > 0 and high > 20 * low)
    plots.by_layer([_text(v) for v in mean.index], series, ax=ax, ylabel=_text(number), log=log)
    ax.set_xlabel(_text(rows))
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))  # beside the lines, which may be many
    figure.savefig(stream, format="png", dpi=90)
    return _data(
        stream.getvalue(), "png"
    ), f"{number} by {rows}, a line for each {columns}: from {low:.3g} to {high:.3g}"


def _text(value):
    """A short text that matplotlib does not take for a formula; of paths and lists, the ends tell them apart."""
    return (shown if len(shown := str(value)) <= 30 else f"{shown[:9]}…{shown[-20:]}").replace("$", r"\$")


def _template():
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "gallery.html"
    )
