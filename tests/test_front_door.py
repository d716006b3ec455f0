"""What a newcomer meets first: the three lists of packages, the wheel, the data, the size of the package."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def ranges():
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pins():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): [p for p in found if p.name == r.name] for r in found}


def test_every_requirement_is_pinned_within_its_range():
    for name, wanted in ranges().items():
        for pin in pins()[name]:
            (spec,) = pin.specifier
            assert spec.operator == "==" and wanted.specifier.contains(spec.version), (
                f"{name}: {pin} is not in {wanted}"
            )


@pytest.mark.parametrize("version", ["3.11.4", "3.12.7", "3.13.1"])
@pytest.mark.parametrize(
    "system", [("linux", "posix", "Linux"), ("darwin", "posix", "Darwin"), ("win32", "nt", "Windows")]
)
def test_one_pin_a_requirement_on_every_python_and_system(version, system):
    machine = dict(zip(("sys_platform", "os_name", "platform_system"), system, strict=True))
    machine |= {"python_version": version.rpartition(".")[0], "python_full_version": version}
    for name in ranges():
        assert len([p for p in pins()[name] if p.marker is None or p.marker.evaluate(machine)]) == 1, name


def test_the_pins_are_closed():
    """What the requirements need and what those need: all of it is pinned."""
    seen, todo = set(), [(name, "") for name in ranges()]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        assert name in pins(), f"{name} is not pinned: make requirements.txt anew (its first line says how)"
        for need in map(Requirement, metadata.requires(name) or ()):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(need.name), e) for e in ("", *need.extras)]


def test_the_editable_install_needs_nothing_but_the_pins(tmp_path):
    code = f"from hatchling import build; print(build.build_editable({str(tmp_path)!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-500:]
    with zipfile.ZipFile(tmp_path / result.stdout.split()[-1]) as wheel:
        (path,) = [n for n in wheel.namelist() if n.endswith(".pth")]
        assert wheel.read(path).decode().strip() == str(ROOT)
        assert not [n for n in wheel.namelist() if n.startswith("vizlib/")], "a copy would go stale"


def test_make_without_a_fitting_python_says_so_in_one_sentence(tmp_path):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for python in ("", "/nonexistent/python"):
        command = ["make", "--silent", "run", f"PYTHON={python}"]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert re.fullmatch(r"No Python 3.11, 3.12 or 3.13 was found: .*\n", result.stdout)
        assert not (tmp_path / ".venv").exists()


def test_environment_yml_names_the_same_ranges_with_a_reason_each():
    text = (ROOT / "environment.yml").read_text()
    packages = yaml.safe_load(text)["dependencies"][-1]["pip"]
    found = {canonicalize_name(Requirement(p).name): Requirement(p).specifier for p in packages if p != "-e ."}
    assert found == {name: r.specifier for name, r in ranges().items()}
    for line in text.splitlines():
        if line.strip().startswith("- ") and not line.rstrip().endswith("- pip:"):
            assert re.search(r"# \w.{4,}", line), f"no reason: {line}"


def test_minimum_versions_that_the_project_promises():
    promised = {"tensorflow": "2.20", "keras": "3.13.2", "pillow": "12.3", "jupyterlab": "4.6.2", "ipywidgets": "8.1",
                "papermill": "2.7", "nbval": "0.11"}  # fmt: skip
    for name, version in promised.items():
        assert str(ranges()[name].specifier) == f">={version}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built from this checkout and unpacked somewhere else."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    assert {p.name.partition("-")[0] for p in (folder / "site").iterdir()} == {"vizlib", "viztools"}
    return folder / "site"


def python_in(folder, code):
    environment = {**os.environ, "PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_wheel_works_outside_the_checkout(installed):
    code = """
import sys, time
begun = time.perf_counter(); import vizlib; seconds = time.perf_counter() - begun
assert "tensorflow" not in sys.modules and "numpy" not in sys.modules
from vizlib import files, images, networks
assert "site" in images.__file__ and "site" in str(files.data_path())
assert networks.load("efficientnet_lite0").top(images.load("coffee", size=224))[0][0] == "espresso"
assert networks.load("vgg16").layers
from viztools.lessons import LESSONS
assert len(LESSONS) >= 8
print(seconds)
"""
    result = python_in(installed, code)
    assert result.returncode == 0, result.stderr[-2000:]
    assert float(result.stdout) < 0.2


def test_import_is_cheap_and_loads_no_tensorflow():
    code = "import vizlib, vizlib.images, vizlib.runs, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    best = 1.0
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)
        bare = time.perf_counter() - begun
        subprocess.run([sys.executable, "-S", "-c", "import vizlib"], check=True, cwd=ROOT)
        best = min(best, time.perf_counter() - begun - 2 * bare)
    assert best < 0.2


def test_data_is_small_whole_and_as_its_readme_says():
    files = [p for p in (ROOT / "data").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in files) < 60e6
    rows = re.findall(r"^\| (\S+) \| (\d+) \| ([0-9a-f]{64}) \|$", (ROOT / "data/README.md").read_text(), re.M)
    described = {name: (int(size), digest) for name, size, digest in rows}
    shipped = [p for p in files if p.suffix not in {".py", ".md"}]
    assert {str(p.relative_to(ROOT / "data")) for p in shipped} == set(described), "python data/make_images.py --readme"
    for path in shipped:
        content = path.read_bytes()
        assert not content.startswith(b"version https://git-lfs"), f"{path.name} is a Git LFS pointer"
        seen = (len(content), hashlib.sha256(content).hexdigest())
        assert seen == described[str(path.relative_to(ROOT / "data"))], "python data/make_images.py --readme"


def test_the_package_stays_thin():
    for package, most in (("vizlib", 2500), ("viztools", 2000)):
        lines = {p.name: len(p.read_text().splitlines()) for p in (ROOT / package).rglob("*.py")}
        assert sum(lines.values()) < most
        assert max(lines.values()) <= 300, lines


def test_doctor_finds_everything_here():
    environment = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"}
    command = [sys.executable, "-m", "vizlib", "doctor"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stderr == "" and all(line.startswith("ok ") for line in result.stdout.splitlines())
    assert len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize("name", ["Inverting_convnet_representations", "Class_score_and_Saliency_Map_Visualization"])
def test_readme_documents_the_parameters_that_papermill_finds(name):
    command = [sys.executable, "-m", "papermill", "--help-notebook", f"notebooks/{name}.ipynb"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {row[0]: row[1:] for row in re.findall(r"^  (\w+): (\w+) \(default (.*?)\)(?: {2,}|$)", said, re.M)}
    table = (ROOT / "README.md").read_text().split(f"`{name}`:\n\n")[1].split("\n\n")[0]
    told = {row[0]: row[1:3] for row in re.findall(r"^\| `(\w+)` \| (\w+) \| `(.*?)` \| (.+) \|$", table, re.M)}
    assert len(found) >= 13 and list(told) == list(found)
    for parameter, (kind, default) in found.items():
        start, _, end = told[parameter][1].partition("…, ")
        assert told[parameter][0] == kind and default.startswith(start) and default.endswith(end), parameter
