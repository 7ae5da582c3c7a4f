"""The Debian package of this tree: built and unpacked once for all tests that install it, kept by the tree's content.

`debian/wheels` and `debian/build` make it, as `make deb` does. Packages lie in ${GATEPOST_CACHE:-~/.cache/gatepost};
two processes that want the same one at once wait for each other. `python -m tests.support.package` makes what is
missing: `make test` does so first, since it takes longer than a test may.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import nspawn

PROGRAMS = ("dpkg-buildpackage", "dh", "po2debconf")
ROOT = Path(__file__).parents[2]
_NOT_INSTALLED = ("tests/", "bench/", ".ci/", "Makefile", "Dockerfile", "compose")
_KEPT = 4
_HOUR_S = 3600.0
_WEEK_S = 7 * 24 * _HOUR_S


def built_package() -> Path:
    """Give the package of the tree as it is now. Raises AssertionError with the end of what the build said."""
    with _kept() as folder:
        return next(folder.glob("gatepost_*.deb"))


def unpacked() -> list[Path]:
    """Give the layers of a Debian root in which dpkg has unpacked the package and not configured it yet."""
    base = nspawn.debian()
    with _kept() as folder:
        layer, part = folder / f"on-{base.name}", folder / "part"
        if not layer.is_dir():
            shutil.rmtree(part, ignore_errors=True)
            package = f"--bind-ro={next(folder.glob('gatepost_*.deb'))}:/gatepost.deb"
            made = nspawn.install(part, [base], f"exec >&2\n{UNPACK} /gatepost.deb", package)
            made.rename(layer)
            shutil.rmtree(part)
        return [layer, base]


UNPACK = "env DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io --unpack"
"""Without a sync for each of thousands of files: nobody needs them after a power cut."""


@contextmanager
def _kept() -> Iterator[Path]:
    """Give the folder of this tree's package while nobody else changes it."""
    cache = Path(os.environ.get("GATEPOST_CACHE") or Path.home() / ".cache" / "gatepost") / "packages"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = cache / _content()
        if not folder.is_dir():
            _build(folder)
            _remove_old(cache)
        os.utime(folder)
        yield folder


def _remove_old(cache: Path) -> None:
    """Remove what was not used for a week, and all but the last few that nobody can be using now."""
    newest = sorted(cache.glob("[0-9a-f]*"), key=lambda one: one.stat().st_mtime, reverse=True)
    for rank, old in enumerate(newest):
        idle_s = time.time() - old.stat().st_mtime
        if idle_s > (_HOUR_S if rank >= _KEPT else _WEEK_S):
            shutil.rmtree(old)


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


if __name__ == "__main__":
    print(*unpacked(), built_package(), sep="\n")
