"""When and from where an engineer may come in."""

from datetime import UTC, datetime

import pytest

from core.errors import GatepostError
from tunnel.bastion.hours import is_from, is_within, networks, roles, windows


def _at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("mon-fri 08:00-18:00", "2026-11-20T08:00", "2026-11-20T18:00"),
        ("mon-fri 08:00-18:00", "2026-11-16T17:59", "2026-11-21T12:00"),
        ("sat,sun 10:00-24:00", "2026-11-22T23:59", "2026-11-20T12:00"),
        ("fri 22:00-06:00", "2026-11-21T05:59", "2026-11-20T05:59"),
        ("fri-mon 00:00-24:00", "2026-11-22T12:00", "2026-11-18T12:00"),
        ("daily 08:00-09:00 Europe/Berlin", "2026-11-20T07:30", "2026-11-20T08:30"),
        ("daily 08:00-09:00 Europe/Berlin", "2026-07-20T06:30", "2026-07-20T07:30"),
    ],
)
def test_a_window_covers_its_time_only(window: str, inside: str, outside: str) -> None:
    (kept,) = windows([window])
    assert is_within([kept], _at(inside))
    assert not is_within([kept], _at(outside))


def test_without_windows_it_is_always_and_of_several_one_is_enough() -> None:
    assert is_within((), 0.0)
    assert is_within(("mon 08:00-09:00", "tue 08:00-09:00"), _at("2026-11-17T08:30"))
    assert windows([""]) == ()


@pytest.mark.parametrize(
    "text",
    ["always", "mon 8-18", "mon-fry 08:00-18:00", "mon 08:00-08:00", "mon 10:00-24:30", "mon 10:00-11:00 Mars/X"],
)
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(GatepostError) as caught:
        windows([text])
    assert caught.value.status == 64
    assert text in caught.value.text


def test_sources() -> None:
    kept = networks(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])
    assert is_from(kept, "192.0.2.200")
    assert is_from(kept, "::ffff:192.0.2.200")
    assert is_from(kept, "2001:db8::1%eth0")
    assert is_from(kept, "198.51.100.7")
    assert not is_from(kept, "198.51.100.8")
    assert not is_from(kept, "")
    assert is_from((), "203.0.113.1")
    with pytest.raises(GatepostError, match="a network is needed"):
        networks(["here"])


def test_roles() -> None:
    assert roles("shell, sftp,shell") == ("shell", "sftp")
    for text in ("root", ""):
        with pytest.raises(GatepostError, match="roles are"):
            roles(text)
