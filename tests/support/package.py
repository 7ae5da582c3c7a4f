"""The Debian package of this tree: built once for all tests that install it, kept by the tree's content.

`debian/wheels` and `debian/build` make it, as `make deb` does. Packages lie in ${GATEPOST_CACHE:-~/.cache/gatepost};
two processes that want the same one at once wait for each other.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = ("dpkg-buildpackage", "dh", "po2debconf")
ROOT = Path(__file__).parents[2]
_NOT_INSTALLED = ("tests/", "bench/", ".ci/", "Makefile", "Dockerfile", "compose")
_KEPT = 4


def built_package() -> Path:
    """Give the package of the tree as it is now. Raises AssertionError with the end of what the build said."""
    cache = Path(os.environ.get("GATEPOST_CACHE") or Path.home() / ".cache" / "gatepost") / "packages"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = cache / _content()
        if not folder.is_dir():
            _build(folder)
            for old in sorted(cache.glob("[0-9a-f]*"), key=lambda one: one.stat().st_mtime)[:-_KEPT]:
                shutil.rmtree(old)
        return next(folder.glob("gatepost_*.deb"))


def as_version(package: Path, version: str, folder: Path) -> Path:
    """Give the same package under another version, as if it had been released."""
    content = folder / "content"
    subprocess.run(["dpkg-deb", "--raw-extract", package, content], check=True)
    control = content / "DEBIAN" / "control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text("".join(f"Version: {version}\n" if line.startswith("Version:") else line for line in lines))
    made = folder / f"gatepost_{version}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", content, made], check=True)
    shutil.rmtree(content)
    return made


def _content() -> str:
    """Give the digest of all that goes into the package."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    digest = hashlib.sha256()
    for name in sorted(set(listed.split("\0")) - {""}):
        if not name.startswith(_NOT_INSTALLED) and (ROOT / name).is_file():
            digest.update(f"{name}\0".encode() + hashlib.sha256((ROOT / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _build(folder: Path) -> None:
    part = folder.with_name(f".{folder.name}")
    shutil.rmtree(part, ignore_errors=True)
    for words in (["debian/wheels", sys.executable], ["debian/build", str(part)]):
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-4000:]}"
    part.rename(folder)
