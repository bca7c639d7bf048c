"""The arrows of the design: who may import whom, read from the source.

Nothing is imported here, so an import inside a function counts as well.
"""

import ast
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "videojam_jax"
MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))

# What these layers may import of what is drawn left of them; others may import all of it.
NARROWER = {
    "lock": {"files"},
    "diffusion": {"keys", "text"},
    "parallel": {"differences", "keys", "randomness"},
    "terminal": {"files", "parallel"},
    "checkpoints": {"differences", "keys"},
    "models": {"keys", "text"},
    "motion": {"keys", "models"},
    "data": {"differences", "files", "keys", "motion", "models", "text"},
    # Reads public weights, which `prepare` and `sample` need; so it is no job beside them.
    "convert": {"files", "checkpoints", "models", "randomness"},
}


def drawn():
    """Each layer of the drawing in docs/architecture.md, and all that stand left of it."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = re.search(r"from the left of it:\n\n((?: {4}.*\n)+)", text)[1]
    found = {}
    for together in drawing.split("<"):
        found |= dict.fromkeys((name.strip() for name in together.split(",")), set(found))
    return found


DRAWN = drawn()
ARROWS = DRAWN | NARROWER

ORACLES = {"torch", "diffusers", "transformers", "tensorflow"}
FLAGS = {"argparse", "absl.flags", "absl.app", "optparse", "getopt"}
# What a model or a formula has no business with.
OUTSIDE = {"ml_collections", "pathlib", "os", "io", "tempfile", "shutil", "orbax", "grain", "absl"}


def layer(path):
    """`videojam_jax/data/clip.py` -> "data"; the package's own __init__ -> ""."""
    first = path.relative_to(ROOT / PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path, everywhere=True):
    """Full dotted names that a file imports, wherever in the file or as it is itself imported."""
    names = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            base = ".".join([*parts, *([node.module] if node.module else [])])
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def is_or_is_in(name, modules):
    return any(name == module or name.startswith(module + ".") for module in modules)


def name_of(path):
    return str(path.relative_to(ROOT))


def test_every_room_is_drawn_and_its_arrows_go_to_the_left():
    assert DRAWN.keys() == {layer(path) for path in MODULES} - {""}
    for name, below in NARROWER.items():
        assert below <= DRAWN[name], f"{name} is drawn left of {below - DRAWN[name]}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_layers_below_its_own(path):
    own = layer(path)
    if own == "":
        assert not imports(path)
        return
    assert own in ARROWS, f"{name_of(path)}: no layer '{own}' in ARROWS; the design names each"
    for name in imports(path):
        if name == PACKAGE or name.startswith(PACKAGE + "."):
            other = name.removeprefix(PACKAGE).lstrip(".").split(".")[0]
            allowed = ARROWS[own] | {own, "errors"}
            assert other in allowed, f"{name_of(path)} ({own}) imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_reads_flags(path):
    if layer(path) == "cli":
        return
    for name in imports(path):
        assert not is_or_is_in(name, FLAGS), f"{name_of(path)} imports {name}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "argv":
            pytest.fail(f"{name_of(path)}, line {node.lineno} reads argv")


@pytest.mark.parametrize(
    "path", [path for path in MODULES if layer(path) == "cli"], ids=name_of
)
def test_the_command_line_answers_before_anything_large_is_imported(path):
    small = {*sys.stdlib_module_names, f"{PACKAGE}.cli", f"{PACKAGE}.errors"}
    for name in imports(path, everywhere=False):
        assert is_or_is_in(name, small), f"{name_of(path)} imports {name} before its job runs"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_package_does_not_import_what_it_is_compared_with(path):
    for name in imports(path):
        assert name.split(".")[0] not in ORACLES, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if layer(path) in ("diffusion", "models")], ids=name_of
)
def test_mathematics_and_models_know_no_file_and_no_config(path):
    for name in imports(path):
        assert name.split(".")[0] not in OUTSIDE, f"{name_of(path)} imports {name}"
        assert not is_or_is_in(name, {f"{PACKAGE}.config"})


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of
)
def test_an_init_file_holds_at_most_a_docstring(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        assert isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_there_is_no_drawer_for_what_has_no_home():
    drawers = {"utils", "util", "common", "helpers", "misc"}
    assert not [name_of(path) for path in MODULES if path.stem in drawers]


def test_relative_and_nested_imports_are_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / PACKAGE / "data" / "deep" / "one.py"
    path.parent.mkdir(parents=True)
    path.write_text("def f():\n    from ...train import loop\n    from . import two\n")
    assert imports(path) == [f"{PACKAGE}.train.loop", f"{PACKAGE}.data.deep.two"]
    assert layer(path) == "data"
