"""A folder imports only from itself and from folders above it in the order below."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pyro_vae"
ORDER = [
    "arguments",
    "recipes",
    "files",
    "processes",
    "progress",
    "supports",
    "distributions",
    "networks",
    "conditionals",
    "pairs",
    "weights",
    "checks",
    "compiling",
    "objectives",
    "training",
    "diagnostics",
    "data",
    "sharing",
    "sklearn",
    "look",
    "cli",
    "__main__",
]
FILES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def find_folder(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def read_imports(path: Path) -> set[str]:
    """The folders that a file imports from, within functions too; "" is pyro_vae itself."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full, from pyro_vae"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}

    parts = [name.split(".") for name in names]
    return {folder for package, folder, *_ in (p + [""] for p in parts) if package == "pyro_vae"}


def test_each_folder_has_its_place():
    assert {find_folder(path) for path in FILES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upward(path):
    folder = find_folder(path)
    allowed = {*ORDER[: ORDER.index(folder) + 1]}
    if folder == "cli":
        allowed.add("")  # only the command line may name pyro_vae itself: it turns names into parts

    assert read_imports(path) <= allowed
