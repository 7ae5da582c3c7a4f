"""Who gets in as `service`, with stock OpenSSH: certificates, the derived key, one-time passwords; and who does not."""

import asyncio
import secrets
import socket
from pathlib import Path

import asyncssh
import paramiko
import pytest

from core import ssh
from core.errors import GatepostError
from tests.support.need import needs
from tests.support.visit import NAME, Stock, Visited, connect, visited
from tests.support.waiting import until
from tunnel.appliance import activation

pytestmark = [needs("ssh")]


async def test_a_certificate_of_the_activation_and_the_derived_key_itself_are_let_in(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        with_certificate = await Stock(appliance, *support.certificate()).run("version")
        with_key = await Stock(appliance, support.own_key()).run("version")
    assert (with_certificate[0], with_key[0]) == (0, 0)
    assert b"42AB-CD" in with_certificate[1]
    logins = appliance.log("service-login")
    assert [(each["way"], each["engineer"], each["case"]) for each in logins] == [
        ("certificate", "ana", "SR12345"),
        ("key", "support", ""),
    ]
    assert any("case SR12345" in line and "ana@SR12345#" in line for line in appliance.audit.lines)


async def test_an_engineer_has_the_rights_of_support_and_is_named_in_the_audit_log(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        key, certificate = appliance.enable().certificate()
        key_id = ssh.certificate_facts(ssh.read_certificate(certificate)).key_id
        async with connect(appliance, key, certificate) as connection:
            assert (await connection.run("version --json")).exit_status == 0
            assert (await connection.run("techsupport tunnel")).exit_status == 77
            process = await connection.create_process(term_type="xterm", term_size=(80, 24), encoding=None)
            await process.stdout.readuntil(b"(SERVICE)>")
            (inside,) = appliance.sessions.facts()
    assert (inside["user"], inside["role"], inside["identity"]) == ("service", "support", key_id)
    assert f"CLI service ({key_id}) from the tunnel ran: version; status 0" in appliance.audit.lines


async def test_a_login_is_refused_with_what_another_activation_another_serial_or_nobody_gave(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        before = appliance.enable()
        old = [Stock(appliance, *before.certificate()), Stock(appliance, before.own_key())]
        support = appliance.enable()
        old.append(Stock(appliance, *support.certificate(serial="other-1")))
        old.append(Stock(appliance, *support.certificate(life_s=-1)))
        for each in old:
            assert (await each.run("version"))[0] == 255
        assert (await Stock(appliance, *support.certificate()).run("version"))[0] == 0
        await until(lambda: len(appliance.log("service-refused")) == 4)
    assert len(appliance.log("service-login")) == 1


async def test_whose_certificate_of_this_activation_has_run_out_reads_so_and_whose_is_of_another_reads_nothing(
    tmp_path: Path,
) -> None:
    async with visited(tmp_path) as appliance:
        former = appliance.enable()
        support = appliance.enable()
        said = (await Stock(appliance, *support.certificate(life_s=-1)).run("version"))[2]
        assert said.startswith(b"your certificate ran out at ")
        assert b"certificate" not in (await Stock(appliance, *former.certificate(life_s=-1)).run("version"))[2]
        await until(lambda: len(appliance.log("service-refused")) == 2)
        assert [each["why"][:26] for each in appliance.log("service-refused")] == [
            "your certificate ran out at"[:26],
            "no key that is good here",
        ]


async def test_a_certificate_without_principals_opens_nothing(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        path, certificate = support.certificate()
        empty = support.key.generate_user_certificate(ssh.read_key(path), "ana@SR1#" + "0" * 36, principals=[])
        certificate.write_text(ssh.certificate_text(empty) + "\n")
        assert (await Stock(appliance, path, certificate).run("version"))[0] == 255


async def test_nobody_is_let_in_while_access_is_off_or_its_time_is_over(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable(account_until_at=1.0)
        engineer = Stock(appliance, *support.certificate())
        assert (await engineer.run("version"))[0] == 255
        activation.save(appliance.file, activation.Activation())
        assert (await engineer.run("version"))[0] == 255
        await until(lambda: len(appliance.log("service-refused")) == 2)
        assert {each["why"] for each in appliance.log("service-refused")} == {"remote access is not enabled"}


async def test_a_one_time_password_is_taken_once_and_with_it_those_before_it(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        assert await by_password(appliance, support.password(2)) == 0
        for number in (2, 1, 0):
            assert await by_password(appliance, support.password(number)) == 255
        shown = support.password(3).lower()
        assert await by_password(appliance, "-".join(shown[at : at + 4] for at in (0, 4, 8, 12))) == 0
        assert [each["key_id"] for each in appliance.log("service-login")] == ["password 3", "password 4"]
        assert appliance.side.access.attempts.failures == 3


async def test_a_spent_password_stays_spent_when_the_console_dies_right_after_it(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        assert await by_password(appliance, support.password(0)) == 0
        on_disk = (tmp_path / "state" / "service.json").read_bytes()
    (tmp_path / "state" / "service.json").write_bytes(on_disk)
    async with visited(tmp_path) as appliance:
        assert await by_password(appliance, support.password(0)) == 255
        assert await by_password(appliance, support.password(1)) == 0


async def test_a_password_that_cannot_be_marked_as_spent_does_not_let_in(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        (tmp_path / "state" / "service.json").mkdir()  # nothing can take its place
        assert await by_password(appliance, support.password(0)) == 255
        assert appliance.log("service-login") == []


async def test_wrong_passwords_lock_passwords_and_not_whoever_has_a_good_key(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        for _ in range(5):
            assert await by_password(appliance, "WRONGWRONGWRONG2") == 255
        assert await by_password(appliance, support.password(0), origin="bob") == 255
        assert (await Stock(appliance, *support.certificate()).run("version"))[0] == 0
        (locked,) = appliance.log("service-locked")
        assert "15 minutes" in locked["text"]
    async with visited(tmp_path) as appliance:
        assert await by_password(appliance, support.password(0)) == 255, "a restart opened the lock"


async def test_wrong_keys_lock_their_own_origin_and_nobody_else(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        stranger = appliance.enable().certificate()
        support = appliance.enable()
        for _ in range(5):
            assert (await Stock(appliance, *stranger, origin="eve").run("version"))[0] == 255
        await until(lambda: appliance.log("service-locked"))
        mine = support.certificate()
        assert (await Stock(appliance, *mine, origin="eve").run("version"))[0] == 255
        assert (await Stock(appliance, *mine, origin="ana").run("version"))[0] == 0


async def test_an_engineer_whose_agent_offers_other_keys_first_has_not_failed(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        stranger, _ = appliance.enable().certificate()
        support = appliance.enable()
        path, certificate = support.certificate()
        engineer = Stock(appliance, stranger)
        engineer.options += ["-i", str(path), "-o", f"CertificateFile={certificate}"]
        assert (await engineer.run("version"))[0] == 0
        assert appliance.side.access.attempts.failures == 0


async def test_twenty_failures_end_remote_access_cut_who_is_in_and_alert(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        async with connect(appliance, *support.certificate()) as inside:
            for number in range(20):
                await appliance.side.access.failed("password", f"origin {number}")
            async with asyncio.timeout(30):
                await inside.wait_closed()
        assert (appliance.disabled, len(appliance.alerts)) == (1, 1)
        assert "20 failed" in appliance.alerts[0]
        assert (await Stock(appliance, *support.certificate()).run("version"))[0] == 255


async def test_access_that_cannot_be_disabled_is_closed_here_all_the_same_and_after_a_restart(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:

        async def absent() -> None:
            raise GatepostError("tunnel-client is not running", 69)

        appliance.side.access._disable = absent
        support = appliance.enable()
        appliance.side.access.opening()
        for _ in range(20):
            await appliance.side.access.failed("password", "eve")
        assert (await Stock(appliance, *support.certificate()).run("version"))[0] == 255
    async with visited(tmp_path) as appliance:
        assert (await Stock(appliance, *support.certificate()).run("version"))[0] == 255
        anew = appliance.enable()
        assert (await Stock(appliance, *anew.certificate()).run("version"))[0] == 0


async def test_disabling_cuts_who_is_in_and_enabling_anew_is_another_activation(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        async with connect(appliance, *support.certificate()) as inside:
            appliance.enable()
            async with asyncio.timeout(30):
                await inside.wait_closed()


async def test_what_one_user_name_was_allowed_does_not_stand_for_the_next(tmp_path: Path) -> None:
    """The library keeps the keys that were set for one name when a client goes on with another."""
    async with visited(tmp_path, hop_sources=("127.0.0.0/8",)) as appliance:
        support = appliance.enable("sshaccess")
        path, certificate = support.certificate()
        key = ssh.read_key(path)
        known = ssh.known_hosts_line(NAME, ssh.public_text(appliance.host_key))
        options = ssh.client_options(
            "admin", known, host_key_alias=NAME, keys=[(key, ssh.read_certificate(certificate))]
        )
        host, port = appliance.port.addresses[0]
        with pytest.raises(asyncssh.PermissionDenied):
            await asyncssh.connect(host, port, config=None, options=options)


async def by_password(appliance: Visited, typed: str, origin: str = "ana") -> int:
    """Log in with paramiko's keyboard-interactive; gives what ssh would as its exit status."""
    return await asyncio.to_thread(_by_password, appliance, typed, origin)


def _by_password(appliance: Visited, typed: str, origin: str) -> int:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(b"\0" + secrets.token_hex(6).encode() + b"/" + origin.encode())
    sock.connect(str(appliance.socket))
    transport = paramiko.Transport(sock)
    try:
        transport.start_client(timeout=60)
        transport.auth_interactive("service", lambda _title, _text, prompts: [typed for _ in prompts])
        channel = transport.open_session(timeout=60)
        channel.exec_command("version")
        return channel.recv_exit_status()
    except (paramiko.SSHException, EOFError, OSError):  # refused, or cut off before it was told so
        return 255
    finally:
        transport.close()
