"""Sweep files and parameters → points: what to execute, checked against the notebook before any kernel starts.

A point is a plain dictionary, for JSON, for other processes and for other machines:
id (from all that decides its results), notebook, parameters (those given, typed), folder, cwd, work (for estimates),
basis (of the weights: a kernel that knows others must not execute it)."""

import ast
import functools
import itertools
import math
import os
import warnings
from pathlib import Path

import nbformat
import papermill
import yaml

from vizlib import __version__, files, parameters
from vizlib.errors import InputError, unknown

OWN = ("out", "interactive")  # set by whoever executes
KEYS = ("notebook", "parameters", "grid", "zip", "list")
MOST, LARGEST = 100_000, 1_000_000  # points a sweep, bytes a sweep file


@functools.cache
def declared(notebook):
    """{name: (name of its type, default)} of a notebook's cell tagged `parameters`; InputError where there is none."""
    try:
        with warnings.catch_warnings(action="ignore"):
            found = papermill.inspect_notebook(str(notebook))
        known = {n: (p["inferred_type_name"], ast.literal_eval(p["default"])) for n, p in found.items()}
    except Exception as error:  # whatever nbformat and papermill find wrong with a file
        raise InputError(f"{notebook} cannot be read as a notebook ({' '.join(str(error).split())[:120]}); give the "
                         "path of an .ipynb file.") from None  # fmt: skip
    if not known:
        raise InputError(f"{notebook} has no cell tagged parameters; give one of the two notebooks.")
    return known


def typed(name, value, kind, default):
    """A parameter's value as its notebook declares it, from YAML or from a command line's text; InputError if none."""
    if default is None and value in (None, "", "None", "null"):
        return None
    if kind == "list":
        parts = [] if value in ([], "", "[]") else parameters.names(value, name=name)
        return [int(p) if str(p).isdecimal() else p for p in parts]
    if (isinstance(value, bool) and kind != "bool") or (kind == "str" and not isinstance(value, str | int | float)):
        raise InputError(f"{name} must be {kind}, not {str(value)[:80]!r}; put text into quotes.")
    one = lambda name, value: parameters.numbers(name, value, low=min(1, default), most=1)[0]
    read = {"int": one, "float": parameters.number, "bool": parameters.switch}
    return read[kind](name, value) if kind in read else str(value)


def checked(notebook, given):
    """The given parameters with their declared types; InputError for a name that the notebook does not have."""
    known = declared(notebook)
    for name in given:
        if name in OWN:
            raise InputError(f"{name} is set by the command line; leave it out, and give --out for the folder.")
        if name not in known:
            raise unknown("parameter", name, [n for n in known if n not in OWN], hint=f"({Path(notebook).name})")
    return {name: typed(name, value, *known[name]) for name, value in given.items()}


def point(notebook, given, *, out=None, folder=None, cwd=None):
    """The point of a notebook and its parameters; its folder is out/id unless it is given."""
    notebook, cwd = str(_resolved(Path(os.path.expanduser(notebook)))), str(Path(cwd or os.getcwd()).resolve())
    given = checked(_unbraced(notebook, "a notebook"), given)
    every = {name: default for name, (_, default) in declared(notebook).items() if name not in OWN} | given
    code = [c.source for c in _cells(notebook) if "parameters" not in c.metadata.get("tags", [])]
    state = {name: _state(cwd, value, name) for name, value in every.items() if isinstance(value, str)}
    basis = files.fingerprint(__version__, _weights(), state.get("network"))
    name = files.fingerprint(code, sorted(every.items()), basis, state)[:16]
    return {"id": name, "notebook": notebook, "parameters": given, "folder": _folder(folder, out, name, notebook),
            "cwd": cwd, "work": _work(every), "basis": basis}  # fmt: skip


def _folder(folder, out, name, notebook):
    path = Path(os.path.expanduser(_unbraced(str(folder or Path(out) / name), "an output folder")))
    real = _resolved(path)
    if real == Path(notebook).parent:
        raise InputError(
            f"{path} holds the notebook itself, which its executed copy would replace; give another folder."
        )
    if file := next((p for p in (real, *real.parents) if p.exists() and not p.is_dir()), None):
        raise InputError(f"{path} cannot be a folder, since {file} is a file; give another.")
    if not folder and real != path.parent.resolve() / name:
        raise InputError(f"{path} is a link to {real}, outside the results; remove it.")
    return str(real)


def _resolved(path):
    try:
        return path.resolve()
    except (RuntimeError, OSError) as error:  # links that lead round in a circle; which error, depends on Python
        raise InputError(f"{path} cannot be used ({error}); give another.") from None


def _unbraced(path, what):
    if "{" in path or "}" in path:
        raise InputError(
            f"{path[-80:]!r}: {what} takes no {{…}}; papermill would fill it in and could leave the folder."
        )
    return path


@functools.cache
def _cells(notebook):
    return [c for c in nbformat.read(notebook, 4).cells if c.cell_type == "code"]


def measured(notebook):
    """{work, seconds, memory} of a notebook at its defaults, as measured when it was saved; NaN where it was not."""
    return nbformat.read(notebook, 4).metadata.get("vizlib") or dict.fromkeys(("work", "seconds", "memory"), math.nan)


@functools.cache
def _weights():
    """What identifies the shipped weights: the files beside them hold their SHA-256."""
    return files.fingerprint(*(p.read_bytes() for p in sorted(files.data_path("weights").glob("*.json"))))


def _state(cwd, value, name):
    """What is behind a path that a parameter names, since results depend on it; nothing for all other texts."""
    path = Path(cwd, os.path.expanduser(value))
    stem = str(path).removesuffix(".json").removesuffix(".safetensors")
    found = [path, f"{stem}.json", f"{stem}.safetensors"] if name == "network" else [path]
    state = [files.fingerprint(Path(p).read_bytes()) for p in found if os.path.isfile(p)]
    inside = sorted(path.rglob("*")) if name == "dataset" and os.path.isdir(path) else ()
    return state + [(str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in inside]


def _work(every):
    """How much there is to compute, for comparing points: pixels × steps × images."""
    images = [1 if every.get("layer") else len(every.get("layers", ())), len(every.get("classes", ()))]
    return (
        every.get("iterations", 1) * every.get("size", 1) ** 2 * max(1, *images) * max(1, len(every.get("seeds", ())))
    )


class _Plain(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can stand for more than any memory holds."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("it uses an alias (*name); write the values out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        found = super().construct_mapping(node, deep)
        if len(found) != len(node.value):
            raise yaml.YAMLError("a name stands twice in one mapping; keep one of them")
        return found


def read(path, *, out):
    """All points of a sweep file, each once: one block or a list of blocks, each with a `notebook` (relative to the
    file) and `parameters` (fixed), `grid` (all combinations), `zip` (side by side), `list` (written out)."""
    try:
        if os.path.getsize(path) > LARGEST:
            raise InputError(f"{path} has more than {LARGEST / 1e6:g} MB: a sweep file is a page of text; use grid.")
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Plain)
    except InputError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())[:160]
        raise InputError(f"{path} cannot be read as YAML ({said}); see notebooks/sweeps for an example.") from None
    blocks = content if isinstance(content, list) else [content]
    found = {p["id"]: p for block in blocks for p in _block(block, Path(path), out)}
    if not 0 < len(found) <= MOST:
        raise InputError(f"{path} stands for {len(found)} points; give 1 to {MOST}.")
    return list(found.values())


def _block(block, path, out):
    if not isinstance(block, dict) or not isinstance(block.get("notebook"), str):
        raise InputError(f"{path} must say notebook: PATH and parameters, grid, zip or list; see notebooks/sweeps.")
    for key in block:
        if key not in KEYS:
            raise unknown("key", key, KEYS, hint=f"({path})")
    notebook = path.resolve().parent / block["notebook"]
    for combination in _combinations(block, path):
        try:
            yield point(notebook, combination, out=out)
        except ValueError as error:
            shown = ", ".join(f"{k}={str(v)[:40]}" for k, v in combination.items())
            raise InputError(f"{path}, at {shown}: {error}") from None


def _combinations(block, path):
    fixed, grid, side, listed = (block.get(key) or {} for key in KEYS[1:])
    listed = listed or [{}]
    lists = [*(grid.values() if isinstance(grid, dict) else [0]), *(side.values() if isinstance(side, dict) else [0])]
    if not all(isinstance(v, list) for v in [*lists, listed]) or not all(isinstance(v, dict) for v in [fixed, *listed]):
        raise InputError(
            f"{path}: grid and zip hold a list for each name, list holds mappings, parameters single values."
        )
    if len({len(v) for v in side.values()}) > 1:
        raise InputError(f"{path}: the lists under zip differ in length: { ({k: len(v) for k, v in side.items()}) }.")
    names = [*fixed, *grid, *side, *{name for more in listed for name in more}]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{path} gives {', '.join(map(str, sorted(twice)))} in two places; keep one of them.")
    count = math.prod(len(v) for v in grid.values()) * len(listed) * max([len(v) for v in side.values()], default=1)
    if count > MOST:
        raise InputError(f"{path} stands for {count} points, and {MOST} are the most; split it.")
    rows = [dict(zip(side, row, strict=True)) for row in zip(*side.values(), strict=True)] if side else [{}]
    for row, more, *values in itertools.product(rows, listed, *grid.values()):
        yield fixed | row | more | dict(zip(grid, values, strict=True))
