"""Appliances in the store: enrolment, registration with its generation counter, freezing.

The generation counter finds clones: each registration moves it on at both ends, in two steps. The store first
writes down the next generation as pending and gives it to the appliance with a nonce; the appliance keeps it,
durably, and confirms it. So an appliance comes with what was last confirmed (the answer was lost) or with what is
pending (the confirmation was lost). Whoever comes with anything else is a copy of a disk that has been used since:
the serial is frozen until a human has looked. An appliance that never came before is taken at its word.

Raises GatepostError: 64 for what cannot be enrolled, 65 for a second machine under the same serial, 69 unknown.
"""

import base64
import binascii
import secrets
from collections.abc import Sequence

import msgspec

from core import clock
from core.database import Row, Work
from core.errors import EX_DATAERR, EX_UNAVAILABLE, EX_USAGE, GatepostError
from core.ssh import fingerprint, parse_public, public_text, same_key
from tunnel.bastion.store.engine import Engine
from tunnel.bastion.store.record import Enrolled, Publication, Published, Registered
from tunnel.identity import is_name

FIRST = -1
"""The generation of an appliance that has not come yet, or whose next one a human has vouched for."""
LIFE_S = 168 * 3600.0
_SLACK_S = 300.0
"""By so much may the appliance's clock be ahead."""
_SELECT = (
    "SELECT serial, tunnel_key, host_key, exchange_key, series, enrolled_at, generation, frozen_at, frozen_why,"
    " last_seen_at FROM appliance"
)
_PUBLISHED = (
    "SELECT activation_id, mode, fingerprint, key_id, day, until_at, hops, product, series, serial, first_at,"
    " registered_at, withdrawn_at FROM registration"
)


class Appliances:
    """The appliances that the bastion knows."""

    def __init__(self, engine: Engine, now: clock.Clock = clock.now) -> None:
        self._engine = engine
        self._now = now

    async def get(self, serial: str) -> Enrolled | None:
        """Give an appliance by its lower-case serial; None if it is not known or not a name."""
        return await self._engine.read(lambda: _get(serial)) if is_name(serial) else None

    async def all(self) -> list[Enrolled]:
        """Give all appliances, by serial."""
        return await self._engine.read(_all)

    async def enroll(self, wanted: Enrolled, *, replace: bool = False) -> Enrolled:
        """Make an appliance known. The same keys again are no error; other keys need replace."""
        checked = _checked(wanted, self._now())
        return await self._engine.change(lambda: _enroll(checked, replace))

    async def freeze(self, serial: str, why: str) -> None:
        """Let nobody in under this serial until it is thawed."""
        now = self._now()
        await self._engine.change(lambda: _freeze(serial, why, now))

    async def thaw(self, serial: str) -> Enrolled:
        """Let the next machine with this serial's keys in, whatever generation it comes with."""
        return await self._engine.change(lambda: _thaw(serial))

    async def register(self, serial: str, generation: int, nonce: str, told: Publication) -> Registered:
        """Admit an appliance that has logged in, or say why not; a copy freezes the serial."""
        now, fresh = self._now(), secrets.token_hex(16)
        return await self._engine.change(lambda: _register(serial, (generation, nonce), told, fresh, now))

    async def confirm(self, serial: str, generation: int) -> bool:
        """Take note that the appliance keeps this generation; false if that is not the one it was given."""
        return await self._engine.change(lambda: _confirm(serial, generation))

    async def withdraw(self, serial: str, activation_id: str) -> None:
        """Take note that the appliance's administrator has ended this activation."""
        now = self._now()
        await self._engine.change(lambda: _withdraw(serial, activation_id, now))

    async def published(self, serial: str) -> Published | None:
        """Give what an appliance said when it last registered."""
        return await self._engine.read(lambda: _published(serial))

    async def seen(self, serials: Sequence[str]) -> None:
        """Take note that these appliances have just answered."""
        now = self._now()
        if serials:
            await self._engine.change(lambda: _seen(serials, now))


def _enrolled(row: Row) -> Enrolled:
    return msgspec.convert(dict(zip(Enrolled.__struct_fields__, row, strict=True)), Enrolled)


def _get(serial: str) -> Work[Enrolled | None]:
    rows = yield f"{_SELECT} WHERE serial = $1", (serial,)
    return _enrolled(rows[0]) if rows else None


def _known(serial: str) -> Work[Enrolled]:
    found = yield from _get(serial)
    if found is None:
        raise GatepostError(
            f"{serial.upper()} is not enrolled; `gatepost bastion enroll {serial.upper()} --request FILE` does it",
            EX_UNAVAILABLE,
        )
    return found


def _all() -> Work[list[Enrolled]]:
    rows = yield f"{_SELECT} ORDER BY serial", ()
    return [_enrolled(row) for row in rows]


def _checked(wanted: Enrolled, now: float) -> Enrolled:
    """Give an enrolment in the form in which it is kept; raises GatepostError (64) if it cannot be one."""
    name = wanted.serial.lower()
    if not is_name(name):
        raise GatepostError(f"{wanted.serial!r} is not a serial number", EX_USAGE)
    try:
        tunnel_key, host_key = parse_public(wanted.tunnel_key), parse_public(wanted.host_key)
        exchange = base64.b64decode(wanted.exchange_key, validate=True)
    except (ValueError, binascii.Error) as error:
        raise GatepostError(f"{wanted.serial}: {error}", EX_USAGE) from error
    if len(exchange) not in (0, 32):
        raise GatepostError(f"{wanted.serial}: the exchange key is no X25519 public key", EX_USAGE)
    if same_key(tunnel_key, host_key):
        raise GatepostError(f"{wanted.serial}: the tunnel key and the host key are the same key", EX_USAGE)
    return Enrolled(
        serial=name,
        tunnel_key=public_text(tunnel_key),
        host_key=public_text(host_key),
        exchange_key=wanted.exchange_key,
        series=wanted.series,
        enrolled_at=wanted.enrolled_at or now,
    )


def _enroll(wanted: Enrolled, replace: bool) -> Work[Enrolled]:
    known = yield from _get(wanted.serial)
    if known is not None and _same_machine(known, wanted):
        yield (
            "UPDATE appliance SET exchange_key = $2, series = $3 WHERE serial = $1",
            (wanted.serial, wanted.exchange_key or known.exchange_key, wanted.series or known.series),
        )
        return (yield from _known(wanted.serial))
    if known is not None and not replace:
        raise GatepostError(
            f"{wanted.serial.upper()} is enrolled with other keys (tunnel key {fingerprint(known.tunnel_key)}): "
            "a cloned or replaced machine; if it was replaced, enroll it with --replace",
            EX_DATAERR,
        )
    yield "DELETE FROM appliance WHERE serial = $1", (wanted.serial,)
    yield (
        "INSERT INTO appliance (serial, tunnel_key, host_key, exchange_key, series, enrolled_at, generation, nonce,"
        " pending, pending_nonce, frozen_at, frozen_why, last_seen_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, '', 0, '', 0, '', 0)",
        (
            *(wanted.serial, wanted.tunnel_key, wanted.host_key, wanted.exchange_key),
            *(wanted.series, wanted.enrolled_at, FIRST),
        ),
    )
    return wanted


def _same_machine(known: Enrolled, wanted: Enrolled) -> bool:
    """Tell whether both have the same keys; an exchange key may be new where there was none."""
    exchange = {known.exchange_key, wanted.exchange_key} - {""}
    return (
        same_key(known.tunnel_key, wanted.tunnel_key)
        and same_key(known.host_key, wanted.host_key)
        and len(exchange) <= 1
    )


def _freeze(serial: str, why: str, now: float) -> Work[None]:
    yield "UPDATE appliance SET frozen_at = $2, frozen_why = $3 WHERE serial = $1", (serial, now, why)


def _thaw(serial: str) -> Work[Enrolled]:
    yield from _known(serial)
    yield (
        "UPDATE appliance SET frozen_at = 0, frozen_why = '', generation = $2, nonce = '', pending = 0,"
        " pending_nonce = '' WHERE serial = $1",
        (serial, FIRST),
    )
    return (yield from _known(serial))


def _register(serial: str, came: tuple[int, str], told: Publication, fresh: str, now: float) -> Work[Registered]:
    rows = yield (
        "SELECT generation, nonce, pending, pending_nonce, frozen_at, frozen_why FROM appliance WHERE serial = $1",
        (serial,),
    )
    if not rows:
        return Registered(why="not enrolled")
    if rows[0][4]:
        return Registered(why=f"frozen: {rows[0][5]!s}", frozen=True)
    counter = msgspec.convert(rows[0][:4], tuple[int, str, int, str])
    step = next_step(counter, came, fresh)
    if step is None:
        why = _clone_text(counter, came[0])
        yield from _freeze(serial, why, now)
        return Registered(why=f"frozen: {why}", frozen=True, clone=True)
    yield (
        "UPDATE appliance SET generation = $2, nonce = $3, pending = $4, pending_nonce = $5, last_seen_at = $6"
        " WHERE serial = $1",
        (serial, *step, now),
    )
    until_at = yield from _publish(serial, told, now)
    return Registered(generation=step[2], nonce=step[3], until_at=until_at)


def next_step(
    counter: tuple[int, str, int, str], came: tuple[int, str], fresh: str
) -> tuple[int, str, int, str] | None:
    """Move (generation, nonce, pending, its nonce) on for an appliance that comes with (generation, nonce).

    None if it is a copy. A pending step is given again as it is until it is confirmed: its answer may have been
    lost. `fresh` is the nonce for a new one.
    """
    generation, nonce, pending, pending_nonce = counter
    if came == (generation, nonce) and pending:
        return counter
    known = came == (generation, nonce) or (pending > 0 and came == (pending, pending_nonce))
    return (*came, came[0] + 1, fresh) if known or generation == FIRST else None


def _clone_text(counter: tuple[int, str, int, str], came: int) -> str:
    generation = counter[0]
    if came > max(generation, counter[2]):
        return f"it came with generation {came}, this store knows {generation} only: was the store restored?"
    return f"it came with generation {came} after generation {generation}: a copy of its disk, or a restored one"


def _publish(serial: str, told: Publication, now: float) -> Work[float]:
    """Keep what was told; gives until when the bastion lets this activation live on its own clock."""
    rows = yield "SELECT activation_id, first_at FROM registration WHERE serial = $1", (serial,)
    first_at = now
    if rows and rows[0][0] == told.activation_id:
        first_at = float(rows[0][1] or now)
    until_at = min(told.until_at, first_at + LIFE_S + _SLACK_S)
    yield (
        "INSERT INTO registration (serial, activation_id, mode, fingerprint, key_id, day, until_at, hops, product,"
        " series, first_at, registered_at, withdrawn_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0) ON CONFLICT (serial) DO UPDATE SET"
        " activation_id = excluded.activation_id, mode = excluded.mode, fingerprint = excluded.fingerprint,"
        " key_id = excluded.key_id, day = excluded.day, until_at = excluded.until_at, hops = excluded.hops,"
        " product = excluded.product, series = excluded.series, first_at = excluded.first_at,"
        " registered_at = excluded.registered_at, withdrawn_at = 0",
        (
            *(serial, told.activation_id, told.mode, told.fingerprint, told.key_id, told.day, until_at),
            *(msgspec.json.encode(told.hops).decode(), told.product, told.series, first_at, now),
        ),
    )
    return until_at


def _published(serial: str) -> Work[Published | None]:
    rows = yield f"{_PUBLISHED} WHERE serial = $1", (serial,)
    if not rows:
        return None
    document = dict(zip(Published.__struct_fields__, rows[0], strict=True))
    document["hops"] = msgspec.json.decode(str(document["hops"]))
    return msgspec.convert(document, Published)


def _confirm(serial: str, generation: int) -> Work[bool]:
    rows = yield (
        "UPDATE appliance SET generation = pending, nonce = pending_nonce, pending = 0, pending_nonce = ''"
        " WHERE serial = $1 AND pending = $2 AND pending > 0 RETURNING generation",
        (serial, generation),
    )
    if not rows:
        rows = yield "SELECT 1 FROM appliance WHERE serial = $1 AND generation = $2", (serial, generation)
    return bool(rows)


def _withdraw(serial: str, activation_id: str, now: float) -> Work[None]:
    yield (
        "UPDATE registration SET withdrawn_at = $3 WHERE serial = $1 AND activation_id = $2",
        (serial, activation_id, now),
    )


def _seen(serials: Sequence[str], now: float) -> Work[None]:
    for serial in serials:
        yield "UPDATE appliance SET last_seen_at = $2 WHERE serial = $1", (serial, now)
