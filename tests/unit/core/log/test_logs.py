"""Subscriptions: what exists without configuration, what rows change, and that each has its own level."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.config.section import LogSection
from core.log.book import Logs
from core.log.client import Clients
from core.log.config import LogSubscriptionSection, subscriptions_of


def _logs(folder: Path, *rows: dict[str, object]) -> Logs:
    sections = [LogSubscriptionSection.model_validate(row) for row in rows]
    return Logs(subscriptions_of(folder, LogSection(), sections), "", key=folder / "push_ed25519")


def test_logs_exist_without_configuration(tmp_path: Path) -> None:
    found = {one.name: (one.type, one.level, one.path.name) for one in _logs(tmp_path).all()}
    assert found["mail_logs"] == ("mail", 3, "mail.current")
    assert found["error_logs"] == ("error", 2, "error.current")
    assert set(found) == {"mail_logs", "bounce_logs", "status_logs", "cli_logs", "system_logs", "error_logs"}


def test_a_row_takes_the_place_of_a_usual_log_or_ends_it(tmp_path: Path) -> None:
    logs = _logs(
        tmp_path,
        {"name": "mail_logs", "type": "mail", "level": 4, "file_name": "text"},
        {"name": "status_logs", "type": "status", "enabled": False},
    )
    found = {one.name: one for one in logs.all()}
    assert (found["mail_logs"].level, found["mail_logs"].path.name) == (4, "text.current")
    assert "status_logs" not in found


def test_two_subscriptions_of_one_type_have_their_own_levels(tmp_path: Path) -> None:
    log = _logs(tmp_path, {"name": "details", "type": "mail", "level": 4}).open("mail")
    log.debug("a detail")
    log.info("an event")
    log.warning("a fault")
    log.flush()
    assert (tmp_path / "details/mail.current").read_text().count("\n") == 3
    assert (tmp_path / "mail_logs/mail.current").read_text().count("\n") == 2
    assert (tmp_path / "error_logs/error.current").read_text().endswith("Warning: a fault\n")


def test_a_log_that_nobody_subscribes_to_costs_nothing_and_writes_nothing(tmp_path: Path) -> None:
    log = _logs(tmp_path).open("delivery")
    log.info("unseen")
    log.critical("unseen")
    log.flush()
    assert not (tmp_path / "delivery_logs").exists()


def test_changed_subscriptions_are_followed_at_once(tmp_path: Path) -> None:
    logs = _logs(tmp_path)
    log = logs.open("mail")
    log.info("one")
    logs.follow(_logs(tmp_path, {"name": "more", "type": "mail"}).all())
    log.info("two")
    log.flush()
    assert (tmp_path / "mail_logs/mail.current").read_text().count("\n") == 2
    assert (tmp_path / "more/mail.current").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"name": "a", "type": "injection_debug"}, "needs clients"),
        ({"name": "a", "type": "injection_debug", "clients": ["192.0.2.1/99"]}, "a client is an address"),
        ({"name": "a", "type": "domain_debug"}, "needs a domain"),
        ({"name": "a", "type": "mail", "retrieval": "scp", "host": "h"}, "needs a user"),
        ({"name": "a", "type": "mail", "retrieval": "syslog"}, "needs a host"),
        ({"name": "a", "type": "mail", "rollover_at": ["24:00"]}, "time of day"),
        ({"name": "a", "type": "mail", "max_size": 10}, "64K"),
        ({"name": "../a", "type": "mail"}, "match pattern"),
        ({"name": "a", "type": "mail", "file_name": "../../x"}, "match pattern"),
    ],
    ids=["clients", "network", "domain", "scp", "syslog", "time", "size", "folder", "file"],
)
def test_what_cannot_be_is_refused_with_its_reason(row: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        LogSubscriptionSection.model_validate(row)


@pytest.mark.parametrize(
    ("entry", "host", "name", "meant"),
    [
        ("192.0.2.7", "192.0.2.7", "", True),
        ("192.0.2.7", "192.0.2.8", "", False),
        ("192.0.2.0/24", "192.0.2.8", "", True),
        ("192.0.2.", "192.0.2.8", "", True),
        ("192.0.2.1-9", "192.0.2.9", "", True),
        ("192.0.2.1-9", "192.0.2.10", "", False),
        ("2001:db8::/32", "2001:db8::1", "", True),
        ("192.0.2.7", "::ffff:192.0.2.7", "", True),
        ("mx.example.test", "192.0.2.8", "MX.example.test", True),
        (".example.test", "192.0.2.8", "mx.example.test", True),
        (".example.test", "192.0.2.8", "", False),
        ("example.test", "192.0.2.8", "mx.example.test", False),
    ],
)
def test_clients_are_named_by_address_network_range_and_host_name(
    entry: str, host: str, name: str, *, meant: bool
) -> None:
    assert Clients([entry]).has(host, name) is meant
