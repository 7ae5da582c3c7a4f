"""Mail that an operator sends off: it is at a real mail host when the command ends, or the reason is told."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.support.appliance import document
from tests.support.editing import TEXT
from tests.support.operating import Operating
from tests.support.sink import Inbox, receiving

SECRET = "JBSWY3DPEHPK3PXP"
USER = f'[[smtp_user]]\nname = "u"\npassword = "{SECRET}"\n'


def machine(folder: Path, port: int, more: str = "") -> Operating:
    alerts = f'[alerts]\nhost = "127.0.0.1"\nport = {port}\ntimeout_s = 20\n'
    return Operating(folder, TEXT + USER + alerts + more)


async def test_mailconfig_sends_the_configuration_without_secrets_unless_asked(tmp_path: Path) -> None:
    inbox = Inbox()
    async with receiving(inbox) as port:
        one = machine(tmp_path, port)
        shown = await one.talked("mailconfig", "a@example.test, b@example.test", "")
        assert (await one.ran("mailconfig c@example.test --passphrases")).status == 0
    assert "include passphrases? Please be aware that a configuration file without passphrases will fail" in shown
    assert "The configuration file has been sent to a@example.test.\n" in shown
    assert [to for _, to in inbox.envelopes] == [["a@example.test"], ["b@example.test"], ["c@example.test"]]
    masked, plain = (next(message.iter_attachments()).get_content() for message in inbox.messages[1:])
    assert SECRET not in masked
    assert tomllib.loads(masked)["smtp_user"][0]["password"] == "*****"
    assert tomllib.loads(plain) == one.tables()


async def test_what_nobody_takes_is_said_to_be_not_sent(tmp_path: Path) -> None:
    async with receiving(Inbox("550 no", "250 kept", "451 no")) as port:
        one = machine(tmp_path, port)
        refused = await one.ran("mailconfig a@example.test")
        half = await one.ran("mailconfig a@example.test,b@example.test")
    assert (refused.status, refused.error) == (75, "it was not sent: a@example.test: 550 no")
    assert half.output.splitlines() == [
        "The configuration file has been sent to a@example.test.",
        "Sending to b@example.test failed: 451 no",
    ]
    assert (await one.ran("mailconfig nobody")).status == 65


@pytest.mark.parametrize("by_dialogue", [True, False], ids=["dialogue", "batch"])
async def test_a_support_request_tells_all_but_secrets_and_remembers_who_asks(
    tmp_path: Path, by_dialogue: bool
) -> None:
    inbox = Inbox()
    async with receiving(inbox) as port:
        one = machine(tmp_path, port, '[support]\naddress = "help@vendor.test"\ncc = ["boss@example.test"]\n')
        first = await one.ran("supportrequest send 'it hangs'", stdin=b"text")
        assert (first.status, "--contract is needed" in first.error) == (64, True)
        if by_dialogue:
            answers = [
                "send",
                "y",
                "SR1",
                "2",
                "it hangs",
                "Since noon.",
                ".",
                "C-42",
                "Ana <ana@example.test>",
                "123",
                "",
            ]
            shown = await one.talked("supportrequest", *answers, "", "")
            assert "help@vendor.test: sent" in shown
        else:
            line = "supportrequest send 'it hangs' --severity 2 --ticket SR1 --contract C-42 --contact Ana --phone 123"
            assert (await one.ran(line, stdin=b"Since noon.\n")).status == 0
        again = document(await one.ran("supportrequest send 'once more' --json", stdin=b"text"))
    assert again["contract"] == "C-42"
    assert [to for _, to in inbox.envelopes[:2]] == [["help@vendor.test"], ["boss@example.test"]]
    message = inbox.messages[0]
    assert message["Subject"] == "[SR1] Severity 2: it hangs"
    assert message["Cc"] == "boss@example.test"
    body = message.get_body().get_content().replace("\r\n", "\n")
    assert "Contract ID: C-42\n" in body
    assert body.endswith("Since noon.\n")
    files = {part.get_filename(): part.get_content() for part in message.iter_attachments()}
    assert {"configuration.toml", "version.json", "alerts.json"} <= set(files)
    assert json.loads(files["version.json"])["serial"] == "42AB-CD"
    assert SECRET not in message.as_string()
    kept = tmp_path / "state" / "support.json"
    assert (kept.stat().st_mode & 0o777, json.loads(kept.read_text())["phone"]) == (0o600, "123")


async def test_without_an_address_nobody_is_written_to(tmp_path: Path) -> None:
    one = machine(tmp_path, 9)
    result = await one.ran("supportrequest send x --contract c --contact d", stdin=b"text")
    assert (result.status, "supportrequest setup --address" in result.error) == (78, True)
    await one.ran("supportrequest setup --address help@vendor.test --cc a@b.test")
    assert one.tables()["support"] == {"address": "help@vendor.test", "cc": ["a@b.test"]}
