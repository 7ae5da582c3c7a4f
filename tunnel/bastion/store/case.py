"""Cases and grants in the store: who may work on which appliance, approved by whom, until when.

What is added to a case after its approval takes the approval away. A closed case stays for the record and is
never opened again. Raises GatepostError that names the command which helps: 69 for what is not known, 65 for what
does not fit, 77 for an approval by somebody who may not give it.
"""

from collections.abc import Sequence

import msgspec

from core import clock
from core.database import Row, Work
from core.errors import EX_DATAERR, EX_NOPERM, EX_UNAVAILABLE, GatepostError
from tunnel.bastion.store import engineer as engineers
from tunnel.bastion.store.engine import Engine
from tunnel.bastion.store.record import Case, CaseSerial, Grant

_CASE = "SELECT number, opened_at, approved_at, approved_by, closed_at FROM support_case"
_GRANT = "SELECT number, serial, grant_id, fingerprint, mode, until_at, given_at, node FROM access_grant"


class Cases:
    """The support cases."""

    def __init__(self, engine: Engine, now: clock.Clock = clock.now) -> None:
        self._engine = engine
        self._now = now

    async def get(self, number: str) -> Case | None:
        """Give a case, also a closed one."""
        return await self._engine.read(lambda: _get(number))

    async def known(self, number: str) -> Case:
        """Give a case that is open. Raises GatepostError that says which command helps."""
        return await self._engine.read(lambda: _open(number))

    async def all(self, *, closed: bool = False) -> list[Case]:
        """Give the open cases, or all, by number."""
        return await self._engine.read(lambda: _all(closed))

    async def open(self, number: str, serials: Sequence[CaseSerial], names: Sequence[str]) -> Case:
        """Open a case, or add appliances and engineers to one; what is new needs an approval."""
        now = self._now()
        return await self._engine.change(lambda: _put(number, serials, names, now))

    async def approve(self, number: str, by: str) -> Case:
        """Approve a case by a known engineer who is not one of its own."""
        now = self._now()
        return await self._engine.change(lambda: _approve(number, by, now))

    async def close(self, number: str) -> tuple[Case, list[Grant]]:
        """Close a case; gives it and the grants that were taken away, for keyd to forget."""
        now = self._now()
        return await self._engine.change(lambda: _close(number, now))

    async def grant(self, given: Grant) -> Grant | None:
        """Keep a grant; gives the former one of the same case and appliance, for keyd to forget."""
        return await self._engine.change(lambda: _grant(given))

    async def granted(self, number: str, serial: str) -> Grant | None:
        """Give the grant for an appliance of a case, also one that has run out."""
        return await self._engine.read(lambda: _granted(number, serial))

    async def grants(self, number: str) -> list[Grant]:
        """Give all grants of a case, by serial."""
        return await self._engine.read(lambda: _grants(number))


def _get(number: str) -> Work[Case | None]:
    rows = yield f"{_CASE} WHERE number = $1", (number,)
    return (yield from _whole(rows[0])) if rows else None


def _whole(row: Row) -> Work[Case]:
    """Complete the row of a case with its appliances and engineers."""
    serials = yield "SELECT serial, via, address FROM case_serial WHERE number = $1 ORDER BY serial", (row[0],)
    names = yield "SELECT engineer FROM case_engineer WHERE number = $1 ORDER BY engineer", (row[0],)
    document = dict(zip(("number", "opened_at", "approved_at", "approved_by", "closed_at"), row, strict=True))
    return msgspec.convert(
        {
            **document,
            "serials": [dict(zip(("serial", "via", "address"), one, strict=True)) for one in serials],
            "engineers": [one[0] for one in names],
        },
        Case,
    )


def _open(number: str) -> Work[Case]:
    case = yield from _get(number)
    if case is None:
        raise GatepostError(
            f"case {number} is not known; "
            f"`gatepost bastion case open {number} --serial SERIAL --engineer NAME` does it",
            EX_UNAVAILABLE,
        )
    if case.closed_at:
        raise GatepostError(
            f"case {number} is closed; `gatepost bastion case open` opens another under a new number", EX_UNAVAILABLE
        )
    return case


def _all(closed: bool) -> Work[list[Case]]:
    which = "" if closed else " WHERE closed_at = 0"
    rows = yield f"{_CASE}{which} ORDER BY number", ()
    cases = []
    for row in rows:
        cases.append((yield from _whole(row)))
    return cases


def _put(number: str, serials: Sequence[CaseSerial], names: Sequence[str], now: float) -> Work[Case]:
    case = yield from _get(number)
    if case is None:
        yield (
            "INSERT INTO support_case (number, opened_at, approved_at, approved_by, closed_at)"
            " VALUES ($1, $2, 0, '', 0)",
            (number, now),
        )
    case = yield from _open(number)
    yield from _check(case, serials)
    for name in names:
        yield from engineers.known(name)
    added = [one for one in serials if one not in case.serials]
    joined = [name for name in names if name not in case.engineers]
    for one in added:
        yield (
            "INSERT INTO case_serial (number, serial, via, address) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (number, serial) DO UPDATE SET via = excluded.via, address = excluded.address",
            (number, one.serial, one.via, one.address),
        )
    for name in joined:
        yield "INSERT INTO case_engineer (number, engineer) VALUES ($1, $2)", (number, name)
    if added or joined:
        yield "UPDATE support_case SET approved_at = 0, approved_by = '' WHERE number = $1", (number,)
    return (yield from _open(number))


def _check(case: Case, serials: Sequence[CaseSerial]) -> Work[None]:
    """Refuse appliances that nobody has enrolled, and ways through appliances that are not of the case."""
    own = {one.serial for one in (*case.serials, *serials)}
    for one in serials:
        rows = yield "SELECT 1 FROM appliance WHERE serial = $1", (one.serial,)
        if not rows:
            raise GatepostError(
                f"{one.serial.upper()} is not enrolled; "
                f"`gatepost bastion enroll {one.serial.upper()} --request FILE` does it",
                EX_UNAVAILABLE,
            )
        if one.via and one.via not in own:
            raise GatepostError(
                f"{one.serial.upper()} is reached via {one.via.upper()}, which is not of case {case.number}; "
                f"add --serial {one.via.upper()}",
                EX_DATAERR,
            )


def _approve(number: str, by: str, now: float) -> Work[Case]:
    case = yield from _open(number)
    yield from engineers.known(by)
    if by in case.engineers:
        raise GatepostError(
            f"{by} works on case {number} and cannot approve it; a second person has to, with --by", EX_NOPERM
        )
    yield "UPDATE support_case SET approved_at = $2, approved_by = $3 WHERE number = $1", (number, now, by)
    return (yield from _open(number))


def _close(number: str, now: float) -> Work[tuple[Case, list[Grant]]]:
    yield from _open(number)
    grants = yield from _grants(number)
    yield "DELETE FROM access_grant WHERE number = $1", (number,)
    yield "UPDATE support_case SET closed_at = $2 WHERE number = $1", (number, now)
    case = yield from _get(number)
    assert case is not None
    return case, grants


def _grant(given: Grant) -> Work[Grant | None]:
    case = yield from _open(given.case)
    if case.row(given.serial) is None:
        raise not_of_case(case.number, given.serial)
    former = yield from _granted(given.case, given.serial)
    yield (
        "INSERT INTO access_grant (number, serial, grant_id, fingerprint, mode, until_at, given_at, node)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (number, serial)"
        " DO UPDATE SET grant_id = excluded.grant_id, fingerprint = excluded.fingerprint, mode = excluded.mode,"
        " until_at = excluded.until_at, given_at = excluded.given_at, node = excluded.node",
        msgspec.structs.astuple(given),
    )
    return former if former is not None and former.grant_id != given.grant_id else None


def not_of_case(number: str, serial: str) -> GatepostError:
    """Say that an appliance does not belong to a case, and what to do."""
    return GatepostError(
        f"{serial.upper()} is not of case {number}; "
        f"`gatepost bastion case open {number} --serial {serial.upper()}` adds it",
        EX_UNAVAILABLE,
    )


def _granted(number: str, serial: str) -> Work[Grant | None]:
    rows = yield f"{_GRANT} WHERE number = $1 AND serial = $2", (number, serial)
    return _one_grant(rows[0]) if rows else None


def _grants(number: str) -> Work[list[Grant]]:
    rows = yield f"{_GRANT} WHERE number = $1 ORDER BY serial", (number,)
    return [_one_grant(row) for row in rows]


def _one_grant(row: Row) -> Grant:
    return msgspec.convert(dict(zip(Grant.__struct_fields__, row, strict=True)), Grant)
