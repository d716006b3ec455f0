"""Who imports what, as seen at run time; the arrows themselves are import-linter's contracts in pyproject.toml."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def light_modules():
    return next(c["source_modules"] for c in CONTRACTS if "TensorFlow" in c["name"])


def modules(package="vizlib"):
    return sorted(p.stem for p in (ROOT / package).glob("*.py") if not p.stem.startswith("__"))


def test_light_modules_load_no_tensorflow():
    names = ["vizlib", *light_modules()]
    code = f"import sys, {', '.join(names)}; print(*({{'tensorflow', 'keras', 'torch', 'jax'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
    assert {"vizlib.errors", "vizlib.images", "vizlib.runs"} <= set(names)


def test_the_package_itself_imports_nothing_and_maps_every_module():
    for package in ("vizlib", "viztools"):
        tree = ast.parse((ROOT / package / "__init__.py").read_text())
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        mapped = set(re.findall(r"^(\w+) {2,}\S", ast.get_docstring(tree), re.M))
        assert set(modules(package)) <= mapped, f"{package}'s docstring leaves out {set(modules(package)) - mapped}"


def test_tensorflow_and_keras_enter_through_the_quiet_door():
    for name in modules():
        tree = ast.parse((ROOT / f"vizlib/{name}.py").read_text())
        imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        roots = {a.name.split(".")[0] for n in imports if isinstance(n, ast.Import) for a in n.names}
        roots |= {n.module.split(".")[0] for n in imports if isinstance(n, ast.ImportFrom) and n.module}
        assert name == "backend" or not roots & {"tensorflow", "keras"}, f"{name}: from vizlib.backend import keras, tf"
