"""The shape of the tree: sizes that keep a module something one can hold in the head."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "cpq", "daemons", "mail", "ops", "protocol", "tunnel")
MODULES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}
DAEMONS = {"gateway", "cpq_listener", "delivery_queue", "release_host", "tunnel_client", "bastion", "keyd"} | {
    "console",
    "web",
}


FOLDERS = {*PACKAGES, ".ci", "bench", "debian", "docs", "etc", "systemd", "tests"}
"""What the project's folders are (design.md 3); one more needs a decision in docs/adr/."""


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_tree_holds_modules() -> None:
    assert len(MODULES) > 40


def test_the_top_of_the_tree_has_no_other_folders() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name.split("/")[0] for name in listed.split("\0") if "/" in name} <= FOLDERS


def test_the_image_is_labelled_with_the_release() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text()


def test_no_module_is_over_400_lines() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: n for name, n in sizes.items() if n > 400} == {}


def test_every_daemon_has_a_root_under_80_lines() -> None:
    roots = {path.stem: len(path.read_text().splitlines()) for path in (ROOT / "daemons").glob("*.py")}
    assert set(roots) >= DAEMONS
    assert {name: n for name, n in roots.items() if name in DAEMONS and n >= 80} == {}


def test_every_module_says_what_it_is() -> None:
    assert [str(path) for path in MODULES if not ast.get_docstring(_tree(path))] == []


def test_classes_have_at_most_ten_public_methods() -> None:
    large = {}
    for path in MODULES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                public = [
                    item.name
                    for item in node.body
                    if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not item.name.startswith("_")
                    and not _is_property(item)
                ]
                if len(public) > 10 and not _implements_foreign_interface(node):
                    large[f"{path.relative_to(ROOT)}:{node.name}"] = len(public)
    assert large == {}


def _is_property(item: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """An attribute that is computed is not a method."""
    return any("property" in ast.unparse(decorator) for decorator in item.decorator_list)


def _implements_foreign_interface(node: ast.ClassDef) -> bool:
    """A subclass of a library's callback class has as many methods as the library calls."""
    return any(ast.unparse(parent).startswith("asyncssh.") for parent in node.bases)


def test_names_say_what_a_module_does() -> None:
    assert [str(path) for path in MODULES if path.stem in FORBIDDEN_NAMES] == []


def test_sql_stands_in_stores_only() -> None:
    verbs = ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM ", "CREATE TABLE")
    offenders = []
    for path in MODULES:
        if path.stem in {"store", "sqlite", "postgresql"} or path.parent.name == "store":
            continue
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.lstrip()
                if text.startswith(verbs):
                    offenders.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert offenders == []


def test_rows_are_written_and_read_by_the_names_of_their_columns() -> None:
    """An older release could not use a table to which a newer one has added a column (docs/upgrade.md)."""
    blind = re.compile(r"\bINTO \w+ (VALUES|SELECT)\b|\bSELECT \*")
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        if path.stem not in {"sqlite", "postgresql"}
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "CREATE TABLE" not in node.value
        if blind.search(node.value)
    ]
    assert offenders == []


def test_tasks_are_started_in_one_place() -> None:
    """ruff bans the plain names; this finds a loop's own `create_task` as well."""
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"create_task", "ensure_future"}
        and ast.unparse(node.value) in {"asyncio", "loop", "self._loop", "asyncio.get_running_loop()"}
        and path != ROOT / "core" / "runtime.py"
    ]
    assert offenders == []
