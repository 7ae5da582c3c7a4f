"""What keyd keeps of a seed: the keys that came of it, under an id, until they run out or are forgotten.

One file of mode 0600 in keyd's folder, replaced as a whole and synced before anything is answered. Neither the seed
nor the agreed secret is in it. The number of the next one-time password belongs to the activation and not to a grant,
so that two cases, or a seed brought in again, never give out a password twice. Blocks on the disk; one caller at a
time.
"""

from pathlib import Path

import msgspec

from core import clock
from core.disk import Disk, read_file, replace_file
from core.errors import EX_CONFIG, EX_NOINPUT, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, GatepostError
from tunnel.seed.password import COUNT

FILE_NAME = "grants.json"
MOST = 10_000


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one activation, for one case."""

    grant_id: str
    case: str
    serial: str
    engineer: str
    """Who brought the seed in."""
    fingerprint: str
    mode: str
    key_id: int
    made_at: float
    until_at: float
    checked: bool
    secret: bytes
    """Of the derived key."""
    code_key: bytes

    def __repr__(self) -> str:
        return f"Grant({self.grant_id}, case={self.case}, serial={self.serial})"


class Activation(msgspec.Struct):
    """How far the one-time passwords of an activation are."""

    next_number: int
    until_at: float


class _Book(msgspec.Struct):
    grants: dict[str, Grant] = {}
    activations: dict[str, Activation] = {}


class Grants:
    """All grants that are open."""

    def __init__(self, path: Path, now: clock.Clock = clock.now) -> None:
        """Open the file. Raises status 78 if it is damaged."""
        self._path = path
        self._now = now
        try:
            self._book = msgspec.json.decode(read_file(Disk(), path) or b"{}", type=_Book)
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = f"{path}: damaged; move it away, support then brings the seeds of open cases in again"
            raise GatepostError(text, EX_CONFIG) from None

    def add(self, grant: Grant) -> None:
        """Keep a grant in the place of the one that this case had for the appliance.

        A fingerprint that was checked is the appliance's activation of now: grants of older ones are dropped.
        """
        self._drop_old()
        grants = self._book.grants
        same_box = [each for each in grants.values() if each.serial == grant.serial]
        for each in same_box:
            if each.case == grant.case or (grant.checked and _name(each) != _name(grant)):
                del grants[each.grant_id]
        if len(grants) >= MOST:
            raise GatepostError(f"keyd holds {MOST} grants; close cases first", EX_TEMPFAIL)
        grants[grant.grant_id] = grant
        activation = self._book.activations.setdefault(_name(grant), Activation(0, grant.until_at))
        activation.until_at = max(activation.until_at, grant.until_at)
        self._write()

    def get(self, grant_id: str) -> Grant:
        """Give a grant. Raises status 66 if it is not there or has run out."""
        grant = self._book.grants.get(grant_id)
        if grant is None or grant.until_at <= self._now():
            text = "this grant is unknown or has run out; bring the seed in again: gatepost bastion case seed"
            raise GatepostError(text, EX_NOINPUT)
        return grant

    def of_key(self, key_id: int) -> int:
        """Count the open grants that were made with a support key."""
        return sum(each.key_id == key_id and each.until_at > self._now() for each in self._book.grants.values())

    def number(self, grant: Grant, again: int | None) -> int:
        """Give the number of the next one-time password and count it as given out, durably.

        `again` asks for one that was given out before. Raises status 64 if it was not, 69 when all are given out.
        """
        activation = self._book.activations[_name(grant)]
        if again is not None:
            if again >= activation.next_number:
                raise GatepostError(f"password {again} was never given out; ask for the next one", EX_USAGE)
            return again
        if activation.next_number >= COUNT:
            text = f"all {COUNT} passwords of this activation are given out; let the customer enable access anew"
            raise GatepostError(text, EX_UNAVAILABLE)
        activation.next_number += 1
        self._write()
        return activation.next_number - 1

    def forget(self, grant_id: str) -> bool:
        """Drop a grant; tells whether there was one."""
        found = self._book.grants.pop(grant_id, None)
        if found is not None:
            self._write()
        return found is not None

    def sweep(self) -> int:
        """Drop what has run out, from the disk too; gives the number of grants."""
        before = len(self._book.grants)
        if self._drop_old():
            self._write()
        return before - len(self._book.grants)

    def _drop_old(self) -> bool:
        now, book = self._now(), self._book
        sizes = len(book.grants), len(book.activations)
        book.grants = {name: each for name, each in book.grants.items() if each.until_at > now}
        book.activations = {name: each for name, each in book.activations.items() if each.until_at > now}
        return sizes != (len(book.grants), len(book.activations))

    def _write(self) -> None:
        replace_file(Disk(), self._path, msgspec.json.encode(self._book) + b"\n", mode=0o600)


def _name(grant: Grant) -> str:
    return f"{grant.serial} {grant.fingerprint}"
