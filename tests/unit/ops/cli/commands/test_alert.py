"""Who gets alerts, as an operator sets it; a test alert at a real mail host; what was sent and what was not."""

import json
from pathlib import Path

import pytest

from core.alert.config import alerting_of
from core.alert.record import Alert, Delivery
from ops.cli.account import Caller, Role
from tests.support.appliance import NOW, document
from tests.support.golden import same_as_golden
from tests.support.operating import Operating
from tests.support.sink import Inbox, receiving

GOLDEN = Path(__file__).parent / "golden"
PAIRS = [("TLS", "Warning"), ("TLS", "Critical"), ("Mail", "Info"), ("Mail", "Warning"), ("Log", "Critical")]


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path)


async def test_the_dialogue_adds_changes_and_removes_a_recipient(machine: Operating) -> None:
    answers = ["new", "ops@example.test", "2,7", "3", "new", "boss@example.test", "", ""]
    answers += ["edit", "1", "", "1", "2", "from", "gate@example.test", "setup", "60", "600", "", "delete", "2", ""]
    shown = await machine.talked("alertconfig", *answers)
    same_as_golden(GOLDEN / "alertconfig-dialogue.txt", shown)
    tables = machine.tables()
    assert tables["alert_recipient"] == [{"address": "ops@example.test", "classes": ["All"], "severity": "warning"}]
    assert tables["alerts"] == {"sender": "gate@example.test", "repeat_s": 60, "repeat_longest_s": 600, "host": ""}


async def test_the_batch_form_does_the_same_and_the_simple_recipients_become_rows(tmp_path: Path) -> None:
    text = '[appliance]\nrole = "esa"\nserial = "1"\nhostname = "a.test"\n[alerts]\nrecipients = ["a@b.test"]\n'
    machine = Operating(tmp_path, text)
    assert document(await machine.ran("alertconfig list --json"))["recipients"] == [
        {"address": "a@b.test", "classes": ["All"], "severity": "info"}
    ]
    result = await machine.ran("alertconfig new c@d.test --classes tls/critical,mail --severity warning")
    assert result.output.startswith("Alerts of TLS/Critical, Mail go to c@d.test;")
    tables = machine.tables()
    assert [row["address"] for row in tables["alert_recipient"]] == ["a@b.test", "c@d.test"]
    assert "alerts" not in tables


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("alertconfig new nobody", 65, "must be an address of the form user@domain"),
        ("alertconfig new a@b.test --classes Weather", 65, "there is no class of alerts 'Weather'"),
        ("alertconfig edit a@b.test --severity info", 66, "nobody gets alerts at 'a@b.test'; recipients: none"),
        ("alertconfig clear", 64, "say --yes"),
        ("alertconfig test", 66, "nobody gets System/Info alerts"),
        ("alertconfig test nobody", 65, "'nobody' is no mail address"),
        ("alertconfig test 'a\nb@example.test'", 65, "is no mail address"),
        ("displayalerts 0", 64, "from 1 to 1000"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_reason(
    machine: Operating, line: str, status: int, reason: str
) -> None:
    result = await machine.ran(line)
    assert (result.status, reason in result.error) == (status, True), result


async def test_a_test_alert_is_at_a_real_mail_host_when_the_command_ends_and_is_remembered(machine: Operating) -> None:
    inbox = Inbox("250 kept", "550 no such user")
    async with receiving(inbox) as port:
        await machine.ran(f"alertconfig setup --host 127.0.0.1 --port {port}")
        await machine.ran("alertconfig new ops@example.test --classes Mail")
        await machine.ran("alertconfig new log@example.test --classes Log")
        result = await machine.ran("alertconfig test --class Mail --severity warning")
        refused = document(await machine.ran("alertconfig test gone@example.test --json"))
    assert result.output == "Test alert, class Mail, severity Warning:\nops@example.test: delivered"
    assert [message["Subject"] for message in inbox.messages] == ["Warning SYSTEM.TEST: esa.example.test"]
    assert refused["recipients"] == [{"address": "gone@example.test", "reason": "550 no such user"}]
    alerts = document(await machine.ran("displayalerts --json"))["alerts"]
    assert {row["recipients"][0]["state"] for row in alerts} == {"delivered", "failed"}


async def test_displayalerts_shows_the_last_ones_with_what_became_of_them(machine: Operating) -> None:
    records = machine.appliance.alert_records
    assert records is not None
    facts = ("gateway-0", "System", "Critical", "MAIL.RES_CON_START_ALERT.MEMORY", "memory is at 47.0 percent")
    records.append(
        [
            Alert("1", NOW - 60, *facts, ("a@b.test", "c@d.test")),
            Delivery("1", NOW - 59, "a@b.test"),
            Delivery("1", NOW - 59, "c@d.test", "550 no"),
            Alert("2", NOW, *facts, why="repeated too soon", times=7),
        ]
    )
    same_as_golden(GOLDEN / "displayalerts.txt", (await machine.ran("displayalerts 5")).output)
    assert len(json.loads((await machine.ran("displayalerts 1 --json")).output)["alerts"]) == 1


async def test_a_guest_looks_on(machine: Operating) -> None:
    guest = Caller("eve", Role.GUEST)
    assert (await machine.ran("alertconfig list", guest)).status == 0
    assert (await machine.ran("alertconfig new a@b.test", guest)).status == 77


async def test_recipients_survive_a_file_and_a_line_that_cannot_be_read_refuses_it(machine: Operating) -> None:
    await machine.ran("alertconfig new a@b.test --classes TLS/Critical,Mail --severity warning")
    await machine.ran("alertconfig new c@d.test")
    text = (await machine.ran("alertconfig export -")).output
    assert "a@b.test  TLS/Critical, Mail/Warning\n" in text
    before = [alerting_of(machine.tables()).alert_recipient[0].takes(*one) for one in PAIRS]
    await machine.ran("alertconfig clear --yes")
    assert (await machine.ran("alertconfig import -", stdin=text.encode())).output.startswith("2 alert recipients")
    assert [alerting_of(machine.tables()).alert_recipient[0].takes(*one) for one in PAIRS] == before
    wrong = await machine.ran("alertconfig import -", stdin=b"x@y.test: Mail\njust-one-word\n")
    assert (wrong.status, "line 2" in wrong.error) == (65, True)
    assert len(machine.tables()["alert_recipient"]) == 2
