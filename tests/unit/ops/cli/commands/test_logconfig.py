"""`logconfig`: the dialogue as an operator sees it, and the same in words."""

from pathlib import Path

import pytest

from core.config.section import LogSection
from core.log.book import Logs
from core.log.config import subscriptions_of
from core.ssh.key import fingerprint, read_key
from ops.cli.account import Caller, Role
from tests.support.appliance import document
from tests.support.golden import same_as_golden
from tests.support.operating import Operating

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    logs = Logs(subscriptions_of(tmp_path / "log", LogSection(), ()), "", key=tmp_path / "push_ed25519")
    return Operating(tmp_path, logs=logs)


async def test_the_dialogue_makes_and_changes_a_log(machine: Operating) -> None:
    answers = ["new", "5", "watch_clients", "192.0.2.7, .example.test", "3", "", "", "", "", "", ""]
    answers += [
        "edit",
        "mail_logs",
        "",
        "4",
        "3",
        "loghost.example.test",
        "",
        "2",
        "",
        "",
        "",
        "1M",
        "",
        "",
        "03:00",
        "",
        "exit",
    ]
    shown = await machine.talked("logconfig", *answers)
    same_as_golden(GOLDEN / "logconfig-dialogue.txt", shown)
    assert machine.tables()["log_subscription"] == [
        {
            "name": "mail_logs",
            "type": "mail",
            "level": 4,
            "retrieval": "syslog",
            "host": "loghost.example.test",
            "transport": "tcp",
            "max_size": "1M",
            "rollover_at": ["03:00"],
        },
        {
            "name": "watch_clients",
            "type": "injection_debug",
            "clients": ["192.0.2.7", ".example.test"],
            "sessions": 3,
        },
    ]


async def test_the_batch_form_lists_what_is_always_there_and_says_what_is_wrong(machine: Operating) -> None:
    names = [row["name"] for row in document(await machine.ran("logconfig list --json"))["log_subscription"]]
    assert names == ["mail_logs", "bounce_logs", "status_logs", "cli_logs", "system_logs", "error_logs"]
    assert (await machine.ran("logconfig new a domain_debug")).status == 65
    assert (await machine.ran("logconfig delete mail_logs")).status == 65
    assert (await machine.ran("logconfig edit status_logs --enabled no")).status == 0
    assert machine.tables()["log_subscription"] == [{"name": "status_logs", "type": "status", "enabled": False}]
    guest = await machine.ran("logconfig new a mail", Caller("olga", Role.OPERATOR))
    assert guest.status == 77


async def test_what_holds_for_all_logs_is_a_section(machine: Operating) -> None:
    assert (await machine.ran("logconfig setup --remote-response no --level 4")).status == 0
    assert (await machine.ran("logconfig logheaders --headers From,X-Kind")).status == 0
    assert machine.tables()["log"] == {"remote_response": False, "level": 4, "headers": ["From", "X-Kind"]}


async def test_the_key_that_this_machine_logs_in_with_is_shown(machine: Operating, tmp_path: Path) -> None:
    found = document(await machine.ran("logconfig hostkeyconfig --json"))
    assert found["own_fingerprint"] == fingerprint(read_key(tmp_path / "push_ed25519"))
