"""Who may import whom, and what an install of one part must not need."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "greenhaul_protocols": ROOT / "protocols",
    "greenhaul_edge": ROOT / "edge",
    "greenhaul_cloud": ROOT / "cloud",
    "greenhaul_sim": ROOT / "firmware-sim",
}
MAY_IMPORT = {
    "greenhaul_protocols": set[str](),
    "greenhaul_edge": {"greenhaul_protocols"},
    "greenhaul_cloud": {"greenhaul_protocols"},
    "greenhaul_sim": {"greenhaul_protocols"},
}
# protocols says what bytes mean: nothing that does I/O or reads a clock. Only the front of
# greenhaul-decode reads files; only the bulk readers know numpy.
PROTOCOLS_MAY_IMPORT = {
    "__future__", "abc", "argparse", "ast", "binascii", "bisect", "collections", "contextlib",
    "dataclasses", "datetime", "enum", "functools", "google", "hashlib", "hmac", "itertools",
    "json", "math", "operator", "re", "string", "struct", "types", "typing", "zlib",
}  # fmt: skip
PROTOCOLS_EXCEPTIONS = {
    "bulk.py": {"numpy"},
    "bulk_bodies.py": {"numpy"},
    "bulk_messages.py": {"numpy"},
    "bulk_wire.py": {"numpy"},
    "bulk_jt808.py": {"numpy"},
    "bulk_jt808_items.py": {"numpy"},
    "__main__.py": {"io", "sys", "pathlib"},
    "decode.py": {"sys", "pathlib"},
}
# A generic name says nothing about what is inside.
BANNED_MODULES = {"utils", "util", "common", "core", "base", "manager", "helpers", "misc"}
MODULE_LINES_MAX = 450

MODULES = [
    pytest.param(package, path, id=str(path.relative_to(ROOT)))
    for package, folder in PACKAGES.items()
    for path in sorted((folder / package).rglob("*.py"))
    if not path.name.endswith("_pb2.py")
]


def imported_names(path: Path) -> set[str]:
    """Top-level packages a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize(("package", "path"), MODULES)
def test_arrows_point_one_way(package: str, path: Path) -> None:
    ours = imported_names(path) & set(PACKAGES) - {package}
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(param.values[1], id=str(param.id))
        for param in MODULES
        if param.values[0] == "greenhaul_protocols"
    ],
)
def test_protocols_do_no_io_and_read_no_clock(module: Path) -> None:
    allowed = PROTOCOLS_MAY_IMPORT | PROTOCOLS_EXCEPTIONS.get(module.name, set())
    assert imported_names(module) - {"greenhaul_protocols"} <= allowed
    calls = {
        node.attr
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute)
    }
    assert not calls & {"now", "utcnow", "today", "monotonic"}


@pytest.mark.parametrize(("package", "path"), MODULES)
def test_names_say_something_and_modules_stay_small(package: str, path: Path) -> None:
    assert path.stem not in BANNED_MODULES
    is_table = path.stem == "catalogue" or path.stem.endswith("_table") or "messages" in path.stem
    is_table = is_table or path.parent.name == "versions"  # a schema, written out once
    assert is_table or len(path.read_text().splitlines()) <= MODULE_LINES_MAX


FOREIGN_TO_EDGE = [
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "alembic",
    "psycopg",
    "numpy",
    "shapely",
    "pydantic",
]
FOREIGN_TO_PROTOCOLS = [*FOREIGN_TO_EDGE, "paho", "serial", "can", "cantools", "sqlite_utils"]


@pytest.mark.parametrize(
    ("package", "foreign"),
    [("greenhaul_edge", FOREIGN_TO_EDGE), ("greenhaul_protocols", FOREIGN_TO_PROTOCOLS)],
)
def test_a_part_imports_without_what_the_others_need(package: str, foreign: list[str]) -> None:
    """Every module of the part is imported while the others' packages cannot be."""
    script = f"""
import importlib, pkgutil, sys
for name in {foreign!r}:
    sys.modules[name] = None  # importing it raises ImportError
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, {package + "."!r}):
    if not module.name.endswith((".__main__", ".terminal_bulk")) and ".bulk" not in module.name:
        importlib.import_module(module.name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
