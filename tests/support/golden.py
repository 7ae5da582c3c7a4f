"""Golden files: the text that a renderer gave when a person last looked at it.

`GOLDEN=write make test` writes them anew; look at the difference before committing it.
"""

import os
from pathlib import Path


def same_as_golden(path: Path, text: str) -> None:
    """Compare text with the golden file, with a readable difference."""
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert (text + "\n").splitlines() == path.read_text(encoding="utf-8").splitlines()
