"""Other releases for the tests of upgrade and downgrade, and what a machine's folder holds before and after."""

from pathlib import Path


def files_below(folder: Path) -> dict[str, bytes]:
    """Read every file of a machine but what lies in `run`, `log`, and the shared memory of databases."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] not in ("run", "log") and not file.name.endswith("-shm")
    }
