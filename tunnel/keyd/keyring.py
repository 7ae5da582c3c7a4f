"""The private keys in DIR/keyd: engineer authority, host authority, recording key, support keys.

Opened by keyd at its start; makes what is missing, so that a machine from before keyd needs nothing done by hand. The
folder is for keyd's user alone (0700, files 0600): one that others can read is refused (78), because its keys have to
be taken for known. Blocks on the disk.
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from core import agreement, clock
from core.disk import Disk, read_file, replace_file
from core.errors import EX_CONFIG, EX_DATAERR, EX_UNAVAILABLE, EX_USAGE, GatepostError
from core.given import given_or
from core.ssh import ensure_key
from tunnel.keyd.api import SupportKey

if TYPE_CHECKING:
    from asyncssh import SSHKey

FOLDER = "keyd"
"""In the machine's folder."""
AUTHORITIES = ("engineer_ca", "host_ca")
MOST_SUPPORT_KEYS = 2
"""One in use and its successor: what an appliance's configuration takes."""
HIGHEST = 31
_NOTES = "support.json"


class _Note(msgspec.Struct):
    made_at: float
    last_used_at: float = 0.0


class _Notes(msgspec.Struct):
    highest: int = 0
    """The number given last, so that a number is not used again before thirty others were."""
    keys: dict[int, _Note] = {}


class Keyring:
    """All keys, open."""

    def __init__(self, folder: Path, now: clock.Clock = clock.now) -> None:
        """Open the folder and make what is missing in it. Raises status 78 if others can get at it."""
        self._folder = folder
        self._now = now
        secured(folder)
        self.engineer_ca = self._key("engineer_ca")
        self.host_ca = self._key("host_ca")
        self.recording = self._key("recording")
        self._notes = self._read_notes()
        numbers = range(1, HIGHEST + 1)
        self._support = {n: agreement.read_key(self._path(n)) for n in numbers if self._path(n).exists()}
        if not self._support:
            self.new_support_key()

    def support_keys(self) -> tuple[SupportKey, ...]:
        """Give the support keys as others may see them, the newest last."""
        found = []
        for number, private in self._support.items():
            note = self._note(number)
            public = agreement.encode(agreement.public_of(private))
            found.append(SupportKey(key_id=number, public=public, made_at=note.made_at, last_used_at=note.last_used_at))
        return tuple(sorted(found, key=lambda key: key.made_at))

    def support_key(self, number: int) -> bytes:
        """Give a private support key. Raises status 65 if there is none of this number."""
        private = self._support.get(number)
        if private is None:
            here = ", ".join(map(str, self._support))
            text = f"this seed was made for support key {number}, which is not here (here: {here}); was it retired?"
            raise GatepostError(text, EX_DATAERR)
        return private

    def used(self, number: int) -> None:
        """Note that a grant was made with this key."""
        note = self._note(number)
        note.last_used_at = self._now()
        self._notes.keys[number] = note
        self._write_notes()

    def new_support_key(self) -> int:
        """Make the next support key and give its number. Raises status 69 while two are there."""
        if len(self._support) >= MOST_SUPPORT_KEYS:
            oldest = self.support_keys()[0].key_id
            text = f"there are two support keys, one in use and its successor; retire the older, {oldest}, first"
            raise GatepostError(text, EX_UNAVAILABLE)
        number = max(self._notes.highest, *self._support, 0) % HIGHEST + 1
        while number in self._support:
            number = number % HIGHEST + 1
        agreement.write_key(self._path(number), agreement.make_private())
        self._support[number] = agreement.read_key(self._path(number))
        self._notes.keys[number] = _Note(self._now())
        self._notes.highest = number
        self._write_notes()
        return number

    def retire_support_key(self, number: int) -> None:
        """Delete a support key. Raises status 64 for one that is not there or the only one."""
        if number not in self._support:
            here = ", ".join(map(str, self._support))
            raise GatepostError(f"there is no support key {number}; there are: {here}", EX_USAGE)
        if len(self._support) == 1:
            raise GatepostError("the only support key cannot be retired; make the next one first", EX_USAGE)
        disk, path = Disk(), self._path(number)
        disk.unlink(path)
        disk.unlink(path.with_name(path.name + ".pub"))
        disk.fsync_directory(self._folder)
        del self._support[number]
        self._notes.keys.pop(number, None)
        self._write_notes()

    def _path(self, number: int) -> Path:
        return self._folder / f"support_{number}_x25519"

    def _key(self, name: str) -> "SSHKey":
        return ensure_key(given_or(self._folder / f"{name}_ed25519"), f"{name} of keyd")

    def _note(self, number: int) -> _Note:
        return self._notes.keys.get(number) or _Note(self._path(number).stat().st_mtime)

    def _read_notes(self) -> _Notes:
        path = self._folder / _NOTES
        try:
            return msgspec.json.decode(read_file(Disk(), path) or b"{}", type=_Notes)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GatepostError(f"{path}: damaged: {error}; remove it, the keys are not in it", EX_CONFIG) from error

    def _write_notes(self) -> None:
        replace_file(Disk(), self._folder / _NOTES, msgspec.json.encode(self._notes) + b"\n", mode=0o600)


def adopt(keys: Path, folder: Path) -> list[str]:
    """Move the authorities of a machine from before keyd out of `keys`; gives the names of those that were moved.

    Raises status 78 with the remedy where this user may not.
    """
    moved = []
    for name in AUTHORITIES:
        old, new = keys / f"{name}_ed25519", folder / f"{name}_ed25519"
        if not old.exists() or new.exists():
            continue
        try:
            secured(folder)
            old.rename(new)
        except OSError as error:
            text = f"{old}: cannot be moved to {folder} ({error.strerror}); move it as root and give it to keyd's user"
            raise GatepostError(text, EX_CONFIG) from error
        moved.append(name)
    return moved


def secured(folder: Path) -> None:
    """Make the folder where it is missing, and refuse one that others can get at. Raises status 78."""
    user = os.geteuid()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
        files = [(path, path.lstat()) for path in folder.iterdir()] if facts.st_uid == user else []
    except OSError as error:
        text = f"{folder}: {error.strerror}; make it: install -d -o USER -m 0700 {folder}, with keyd's user"
        raise GatepostError(text, EX_CONFIG) from error
    if not stat.S_ISDIR(facts.st_mode):
        raise GatepostError(f"{folder}: not a folder; keyd keeps its keys there", EX_CONFIG)
    if facts.st_uid != user:
        raise GatepostError(f"{folder}: belongs to user {facts.st_uid}, keyd runs as {user}; chown it", EX_CONFIG)
    open_ones = [folder] if facts.st_mode & 0o077 else []
    open_ones += [path for path, each in files if each.st_mode & 0o077 and path.suffix != ".pub"]
    if open_ones:
        text = f"{open_ones[0]}: open to other users; take the rights away (chmod go= …) and hold its keys for known"
        raise GatepostError(text, EX_CONFIG)
