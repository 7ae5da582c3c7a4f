"""A small real file system in a file, whose power can be cut, that can be filled, or remounted read-only."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.need import needs, not_allowed
from tests.support.waiting import eventually

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = (2).to_bytes(4, "little")
MEBIBYTE = 1024 * 1024

on_a_volume = needs("mkfs.ext4", "mount", "umount", "losetup")


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


class Volume:
    """An ext4 on a loop device."""

    def __init__(self, image: Path, place: Path, *, mebibytes: int = 64, inodes: int = 0) -> None:
        self.image, self.place = image, place
        with image.open("wb") as file:
            file.truncate(mebibytes * MEBIBYTE)
        run("mkfs.ext4", "-q", "-m", "0", *(["-N", str(inodes)] if inodes else []), str(image))
        place.mkdir()
        self._device = Path()

    def mount(self) -> None:
        """Bring it up, on a loop device of its own."""
        found = subprocess.run(
            ["losetup", "--find", "--show", str(self.image)], check=True, capture_output=True, text=True
        )
        self._device = Path(found.stdout.strip())
        try:
            run("mount", str(self._device), str(self.place))
        except subprocess.CalledProcessError:
            run("losetup", "--detach", str(self._device))
            raise

    def remount(self, how: str) -> None:
        """Make it read-only (`ro`) or writable (`rw`); open files for writing are taken away first by `shut`."""
        run("mount", "-o", f"remount,{how}", str(self.place))

    def shut(self) -> None:
        """Cut the power: what is not on the disk now never will be, and every call fails."""
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Take it down; processes that were just killed may hold it for a moment."""
        eventually(self._unmounted, f"nobody holds {self.place}", despite=(subprocess.CalledProcessError,))
        run("losetup", "--detach", str(self._device))
        if Path(f"/sys/fs/ext4/{self._device.name}").exists():
            self._leave()

    def _unmounted(self) -> bool:
        run("umount", str(self.place))
        return True

    def _leave(self) -> None:
        """Go on with a copy: a mount namespace that somebody made meanwhile keeps the file system, as it is, alive."""
        copy = self.image.with_name("copy")
        run("cp", "--sparse=always", str(self.image), str(copy))
        copy.replace(self.image)

    def cut_power(self) -> None:
        """Throw away what is not on the disk, then come up again."""
        self.shut()
        self.unmount()
        self.mount()


@contextmanager
def mounted(folder: Path, *, mebibytes: int = 64, inodes: int = 0) -> Iterator[Volume]:
    """Make and mount one; skips where mounting is not allowed."""
    if os.geteuid() != 0:
        not_allowed("mounting a loop device needs root")
    volume = Volume(folder / "image", folder / "volume", mebibytes=mebibytes, inodes=inodes)
    try:
        volume.mount()
    except subprocess.CalledProcessError as error:
        not_allowed(f"loop mounts are not possible here: {error.stderr.decode().strip()}")
    try:
        yield volume
    finally:
        volume.unmount()


def fill(ballast: Path) -> None:
    """Use up the file system, to the last block that it gives."""
    with ballast.open("wb", buffering=0) as file:
        for step in (MEBIBYTE, 4096, 4096):
            try:
                while file.write(bytes(step)):
                    continue
            except OSError:
                os.fsync(file.fileno())
