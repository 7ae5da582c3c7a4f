"""What the audit log says of engineers and strangers who never came in."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core import ssh
from core.metrics import Counters
from tunnel.audit import AuditLog
from tunnel.bastion.engineer_side import EngineerServer
from tunnel.bastion.entitlement import Denied
from tunnel.bastion.refusal import AT_ONCE, Strangers
from tunnel.bastion.session import Front
from tunnel.identity import sign_engineer

KEY_ID = "ana@SR1#00000000-0000-4000-8000-000000000000"


class Connection:
    """As much of a connection as is asked for before a login."""

    def __init__(self) -> None:
        self.banners: list[str] = []

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return "192.0.2.1", 1

    def set_authorized_keys(self, _keys: object) -> None:
        return

    def send_auth_banner(self, text: str) -> None:
        self.banners.append(text)


class Site:
    """A front with one authority."""

    def __init__(self, folder: Path) -> None:
        self.authority = ssh.make_key()
        self._log = folder / "audit.jsonl"
        front = SimpleNamespace(
            audit=AuditLog(self._log),
            counters=Counters(folder / "counters.json"),
            strangers=Strangers(),
            entitlements=SimpleNamespace(of=self._nobody),
            section=SimpleNamespace(approval="none"),
        )
        self._front = cast("Front", front)

    async def _nobody(self, *_: object) -> None:
        raise Denied("engineer", "nobody of that name")

    def server(self, user: str) -> tuple[EngineerServer, Connection]:
        made = EngineerServer(self._front, (ssh.public_text(self.authority),))
        connection = Connection()
        made.connection_made(cast("Any", connection))
        made.begin_auth(user)
        return made, connection

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


async def test_who_has_an_engineers_certificate_and_not_the_key_was_an_engineer_who_left(tmp_path: Path) -> None:
    site = Site(tmp_path)
    certificate = sign_engineer(site.authority, ssh.make_key(), engineer="ana", case="SR1", serials=["sn-1"])
    server, _ = site.server("SN-1")
    await server.certified(ssh.certificate_facts(certificate))
    server.connection_lost(None)
    [line] = site.lines()
    assert (line["event"], line["rule"], "and not that its key is there (ana@SR1#" in line["why"]) == (
        "refused",
        "certificate",
        True,
    )


@pytest.mark.parametrize("user", ["root", "not a name!"])
async def test_strangers_from_everywhere_filled_the_audit_log(user: str, tmp_path: Path) -> None:
    site, key = Site(tmp_path), ssh.make_key()
    for _ in range(3 * AT_ONCE):
        server, connection = site.server(user)
        server.validate_public_key(user, key)
        server.connection_lost(None)
        assert connection.banners == []
    assert AT_ONCE <= len(site.lines()) <= AT_ONCE + 20
    old = site.authority.generate_user_certificate(key, KEY_ID, principals=["sn-1"], valid_before="20200101")
    server, connection = site.server("sn-1")
    server.rejected(old)
    server.connection_lost(None)
    assert KEY_ID in site.lines()[-1]["why"], "an engineer's reason is not lost among theirs"
    assert "your certificate ran out" in connection.banners[0]


async def test_a_certificate_of_ours_that_is_refused_for_its_options_is_a_line_too(tmp_path: Path) -> None:
    site = Site(tmp_path)
    server, connection = site.server("sn-1")
    server.rejected(site.authority.generate_user_certificate(ssh.make_key(), KEY_ID, principals=["sn-1"]))
    server.connection_lost(None)
    [line] = site.lines()
    assert f"not taken from here ({KEY_ID})" in line["why"]
    assert connection.banners == []
