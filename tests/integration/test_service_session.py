"""What a support session is on the appliance: the console, a login shell, kept, taken up, watched, ended, recorded."""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from core.errors import GatepostError
from core.runtime import spawn
from tests.support.lab import sleeping
from tests.support.need import needs
from tests.support.visit import Stock, connect, visited
from tests.support.waiting import until
from tunnel.appliance import activation
from tunnel.audit import verify

pytestmark = [needs("ssh"), needs("setsid"), needs("setpriv")]
NOBODY = "nobody"


async def heard(process: Any, words: bytes, within_s: float = 30) -> bytes:
    """Read a terminal until it shows something."""
    shown = b""
    async with asyncio.timeout(within_s):
        while words not in shown:
            part = await process.stdout.read(4096)
            assert part, (words, shown)
            shown += part
    return shown


async def terminal(connection: asyncssh.SSHClientConnection, command: str | None = None, **more: Any) -> Any:
    options = {"term_type": "xterm", "term_size": (100, 30), "encoding": None, **more}
    return await connection.create_process(command, **options)


async def test_exec_gives_output_and_status_and_is_recorded_with_the_command(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        engineer = Stock(appliance, *support.certificate())
        status, out, _ = await engineer.run("version --json")
        refused = await engineer.run("techsupport tunnel")
        (first, second) = await appliance.recordings()
    assert (status, refused[0]) == (0, 77)
    assert first[0]["command"] == "version --json"
    assert first[0]["gatepost"]["case"] == "SR12345"
    assert "".join(text for _, code, text in first[1:] if code == "o").encode() == out
    assert second[0]["command"] == "techsupport tunnel"
    assert verify(tmp_path / "log" / "service.jsonl") > 4


async def test_a_login_shell_is_a_real_terminal_of_another_user_without_rights(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    async with visited(tmp_path, service_user=NOBODY) as appliance:
        support = appliance.enable(shell=True)
        async with connect(appliance, *support.certificate()) as connection:
            process = await terminal(connection, "shell", env={"LC_TIME": "C.UTF-8", "LD_PRELOAD": "/x", "PATH": "/x"})
            process.stdin.write(
                b"id -un; tty; echo $LC_TIME,$LD_PRELOAD,$PATH,$TERM; stty size; cat %b; echo END\n"
                % bytes(appliance.folder / "keys" / "host_ed25519")
            )
            shown = await heard(process, b"\nEND")
            assert b"nobody\r\n" in shown
            assert b"/dev/pts/" in shown
            assert b"C.UTF-8,,/usr/local/bin:" in shown
            assert b"30 100" in shown
            assert b"ermission denied" in shown
            process.change_terminal_size(132, 50)
            process.stdin.write(b"stty size; grep -E 'NoNewPrivs|CapEff' /proc/self/status; echo DONE\n")
            shown = await heard(process, b"\nDONE")
            assert b"50 132" in shown
            assert b"NoNewPrivs:\t1" in shown
            assert b"CapEff:\t0000000000000000" in shown
            process.stdin.write(b"sleep 60; echo got $?\n")
            await asyncio.sleep(0.5)
            process.stdin.write(b"\x03")
            await heard(process, b"^C")
            process.stdin.write(b"trap 'echo caught' USR1; kill -USR1 $$\n")
            await heard(process, b"caught\r\n")
            process.stdin.write(b"exit 7\n")
            assert (await process.wait()).exit_status == 7
        (cast,) = await appliance.recordings()
    assert cast[0]["gatepost"]["kind"] == "shell"
    assert "132x50" in [text for _, code, text in cast[1:] if code == "r"]


async def test_much_output_of_a_shell_arrives_whole_while_the_client_reads_slowly(tmp_path: Path) -> None:
    async with visited(tmp_path, service_user=NOBODY) as appliance:
        support = appliance.enable(shell=True)
        async with connect(appliance, *support.certificate()) as connection:
            process = await terminal(connection, "shell")
            process.stdin.write(b"stty -echo -onlcr; echo BEGIN; head -c 4000000 /dev/zero | tr '\\0' x; echo; exit\n")
            await heard(process, b"BEGIN\n")
            await asyncio.sleep(0.3)
            shown = await process.stdout.read()
        assert shown.count(b"x") >= 3_990_000


async def test_there_is_no_shell_unless_the_administrator_allowed_one_and_named_a_user(tmp_path: Path) -> None:
    async with visited(tmp_path, service_user="") as appliance:
        for fields, reason in (({}, b"did not allow"), ({"shell": True}, b"service_user")):
            support = appliance.enable(**fields)
            status, out, errors = await Stock(appliance, *support.certificate()).run("shell", tty=True)
            assert (status, reason in out + errors) == (77, True), (fields, out, errors)


@pytest.mark.parametrize("user", ["root", "no-such-user"])
async def test_support_gets_no_shell_as_root_or_as_a_user_that_does_not_exist(tmp_path: Path, user: str) -> None:
    async with visited(tmp_path, service_user=user) as appliance:
        support = appliance.enable(shell=True)
        status, out, errors = await Stock(appliance, *support.certificate()).run("shell", tty=True)
        assert status == 78, out + errors


async def test_the_console_lends_its_terminal_to_a_shell_and_takes_it_back(tmp_path: Path) -> None:
    async with visited(tmp_path, service_user=NOBODY) as appliance:
        support = appliance.enable(shell=True)
        async with connect(appliance, *support.certificate()) as connection:
            process = await terminal(connection)
            await heard(process, b"(SERVICE)>")
            process.stdin.write(b"shell\r")
            await heard(process, b"$ ")
            process.stdin.write(b"echo I am $(id -un)\n")
            await heard(process, b"I am nobody")
            process.stdin.write(b"exit 3\n")
            shown = await heard(process, b"(SERVICE)>")
            assert b"status 3" in shown
            process.stdin.write(b"version\r")
            await heard(process, b"42AB-CD")


async def test_a_shell_survives_its_connection_and_is_taken_up_with_its_screen(tmp_path: Path) -> None:
    async with visited(tmp_path, service_user=NOBODY) as appliance:
        support = appliance.enable(shell=True)
        mine = support.certificate("ana", "SR12345")
        async with connect(appliance, *mine) as connection:
            process = await terminal(connection, "shell")
            process.stdin.write(b"X=kept; echo before $((40+2))\n")
            await heard(process, b"before 42")
            connection.abort()
        await until(lambda: [each for each in appliance.side.desk.live.values() if each.detached_at])
        (kept,) = (await appliance.verbs["service_sessions"]({}))["sessions"]
        assert kept["detached_since"] is not None
        foreign = support.certificate("eve", "SR99999")
        status, _, errors = await Stock(appliance, *foreign).run("attach", kept["id"], tty=True)
        assert status == 64, errors
        colleague = support.certificate("bob", "SR12345")
        async with connect(appliance, *colleague) as connection:
            process = await terminal(connection, f"attach {kept['id']}", term_size=(90, 20))
            await heard(process, b"before 42")
            process.stdin.write(b"echo $X; stty size\n")
            shown = await heard(process, b"20 90")
            assert b"kept\r\n" in shown
            process.stdin.write(b"exit\n")
            assert (await process.wait()).exit_status == 0
        (cast,) = await appliance.recordings()
    kinds = [json.loads(text)["kind"] for _, code, text in cast[1:] if code == "m"]
    assert [kind for kind in kinds if kind in {"detached", "attached"}] == ["detached", "attached"]


async def test_the_console_itself_is_kept_and_whoever_comes_back_is_told(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        mine = support.certificate()
        async with connect(appliance, *mine) as connection:
            process = await terminal(connection)
            await heard(process, b"(SERVICE)>")
            process.stdin.write(b"version\r")
            await heard(process, b"42AB-CD")
            connection.abort()
        (live,) = await until(lambda: [each for each in appliance.side.desk.live.values() if each.detached_at])
        async with connect(appliance, *mine) as connection:
            process = await terminal(connection)
            assert live.number.encode() in await heard(process, b"(SERVICE)>")
            again = await terminal(connection, f"attach {live.number}")
            await heard(again, b"42AB-CD")
            again.stdin.write(b"quit\r")
            assert (await again.wait()).exit_status == 0


async def test_a_kept_session_ends_when_nobody_comes_back_and_so_does_what_it_started(tmp_path: Path) -> None:
    mark = f"{8_000_000 + os.getpid()}"
    async with visited(tmp_path, service_user=NOBODY, reattach_s=0.5) as appliance:
        support = appliance.enable(shell=True)
        async with connect(appliance, *support.certificate()) as connection:
            process = await terminal(connection, "shell")
            process.stdin.write(f"set +m; (trap '' HUP; exec sleep {mark}) & echo started\n".encode())
            await heard(process, b"\nstarted")
            await until(lambda: sleeping(mark))
            (kept,) = appliance.side.desk.live.values()
            connection.abort()
        await until(lambda: not appliance.side.desk.live)
        assert kept.detached_at, "for a while"
        await until(lambda: not sleeping(mark))


async def test_an_administrator_watches_a_session_and_ends_it(tmp_path: Path) -> None:
    async with visited(tmp_path, service_user=NOBODY) as appliance:
        support = appliance.enable(shell=True)
        async with connect(appliance, *support.certificate()) as connection:
            process = await terminal(connection, "shell")
            process.stdin.write(b"echo first $((1+1))\n")
            await heard(process, b"first 2")
            (live,) = (await appliance.verbs["service_sessions"]({}))["sessions"]
            seen = await appliance.verbs["service_watch"]({"id": live["id"], "by": "admin"})
            assert b"first 2" in b"".join(base64.b64decode(data) for code, data in seen["frames"] if code == "o")
            process.stdin.write(b"echo second $((1+2))\n")
            shown = b""
            while b"second 3" not in shown:
                more = await appliance.verbs["service_watch"]({"id": live["id"], "watch": seen["watch"]})
                shown += b"".join(base64.b64decode(data) for _, data in more["frames"])
            ended = await appliance.verbs["service_kill"]({"id": live["id"], "by": "admin"})
            assert ended["engineer"] == "ana"
            assert (await process.wait()).exit_status == 75
            while not (more := await appliance.verbs["service_watch"]({"id": live["id"], "watch": seen["watch"]}))[
                "ended"
            ]:
                pass
        with pytest.raises(GatepostError):
            await appliance.verbs["service_kill"]({"id": live["id"]})
        assert [each["by"] for each in appliance.log("service-killed")] == ["admin"]
        assert [one["engineer"] for one in (await appliance.verbs["service_recordings"]({}))["recordings"]] == ["ana"]


async def test_each_session_waits_for_the_customers_yes(tmp_path: Path) -> None:
    async with visited(tmp_path, hold_s=90) as appliance:
        support = appliance.enable(ask=True)
        engineer = Stock(appliance, *support.certificate())
        host, port = appliance.port.addresses[0]
        known = ssh.known_hosts_line(str(host), ssh.public_text(appliance.host_key))
        options = ssh.client_options("admin", known, host_key_alias=str(host), keys=[appliance.admin_key])
        async with asyncssh.connect(str(host), port, config=None, options=options) as admin:
            screen = await terminal(admin)
            await heard(screen, b"test>")
            asked = spawn(engineer.run("version"), "engineer")
            await heard(screen, b"techsupport approve")
            (waiting,) = (await appliance.verbs["service_sessions"]({}))["waiting"]
            assert (waiting["engineer"], waiting["case"]) == ("ana", "SR12345")
            assert (waiting["kind"], waiting["asked"], waiting["relayed"]) == ("command", "version", False)
            await appliance.verbs["service_approve"]({"id": waiting["id"], "by": "admin"})
            assert (await asked)[0] == 0
            asked = spawn(engineer.run("version"), "engineer")
            await until(appliance.side.desk.waiting.facts)
            (waiting,) = (await appliance.verbs["service_sessions"]({}))["waiting"]
            await appliance.verbs["service_refuse"]({"id": waiting["id"], "by": "admin"})
            status, _, errors = await asked
            assert (status, b"said no" in errors) == (77, True)


async def test_a_colleague_who_takes_a_session_up_is_asked_for_and_whoever_comes_back_is_not(tmp_path: Path) -> None:
    async with visited(tmp_path, hold_s=90) as appliance:
        support = appliance.enable()
        mine, colleague = support.certificate(), support.certificate("bob")
        async with connect(appliance, *mine) as connection:
            process = await terminal(connection)
            await heard(process, b"(SERVICE)>")
            connection.abort()
        await until(lambda: [each for each in appliance.side.desk.live.values() if each.detached_at])
        opened = activation.load(appliance.file)
        activation.save(appliance.file, activation.changed(opened, ask=True))
        async with connect(appliance, *colleague) as connection:
            process = await terminal(connection, "attach")
            await until(appliance.side.desk.waiting.facts)
        async with connect(appliance, *mine) as connection:
            process = await terminal(connection, "attach")
            process.stdin.write(b"version\r")
            await heard(process, b"42AB-CD")


async def test_who_is_not_answered_is_not_let_in_and_three_of_one_engineer_may_wait(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support, room = appliance.enable(ask=True), appliance.side.desk.waiting
        async with connect(appliance, *support.certificate()) as connection:
            asked = [await terminal(connection, "version") for _ in range(3)]
            await until(lambda: len(room.facts()) == 3)
            fourth = await (await terminal(connection, "version")).wait()
            assert (fourth.exit_status, b"too many sessions" in bytes(fourth.stderr)) == (75, True), fourth
            for waiting in room.facts():
                room.answer(waiting["id"], yes=True)
            assert [(await each.wait()).exit_status for each in asked] == [0] * 3
            room._hold_s = 0.5
            late = await (await terminal(connection, "version")).wait()
            assert (late.exit_status, b"answered in time" in bytes(late.stderr)) == (75, True), late


async def test_administrators_are_told_who_came_and_left(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        host, port = appliance.port.addresses[0]
        known = ssh.known_hosts_line(str(host), ssh.public_text(appliance.host_key))
        options = ssh.client_options("admin", known, host_key_alias=str(host), keys=[appliance.admin_key])
        async with asyncssh.connect(str(host), port, config=None, options=options) as admin:
            screen = await terminal(admin)
            await heard(screen, b"test>")
            async with connect(appliance, *support.certificate()) as connection:
                process = await terminal(connection)
                assert b"ana, case SR12345" in await heard(screen, b"Support is logged in")
                await heard(process, b"(SERVICE)>")
                process.stdin.write(b"quit\r")
                await process.wait()
            await heard(screen, b"Support has left")
            screen.stdin.write(b"version\r")
            await heard(screen, b"42AB-CD")


async def test_a_session_that_fails_inside_does_not_end_the_others_of_its_connection(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        async with connect(appliance, *support.certificate()) as connection:
            good = await terminal(connection)
            await heard(good, b"(SERVICE)>")
            bad = await terminal(connection)
            await heard(bad, b"(SERVICE)>")
            live = list(appliance.side.desk.live.values())[-1]
            live._inner.data_received = None  # what is called next is no function
            bad.stdin.write(b"x")
            assert b"incident" in await heard(bad, b"incident")
            good.stdin.write(b"version\r")
            await heard(good, b"42AB-CD")


@pytest.mark.parametrize("how", ["disabled", "exit"])
async def test_nothing_that_support_has_started_lives_on_however_it_detached_itself(tmp_path: Path, how: str) -> None:
    mark = f"{7_000_000 + os.getpid()}"
    async with visited(tmp_path, service_user=NOBODY) as appliance:
        support = appliance.enable(shell=True)
        async with connect(appliance, *support.certificate()) as connection:
            process = await connection.create_process("shell", term_type="xterm", encoding=None)
            for start in ("setsid -f", "nohup setsid", "(setsid setsid"):
                end = "&)" if start.startswith("(") else "&"
                process.stdin.write(f"{start} sleep {mark} >/dev/null 2>&1 </dev/null {end}\n".encode())
            await until(lambda: sleeping(mark) == 3)
            if how == "disabled":
                await appliance._disable()
            else:
                process.stdin.write(b"exit\n")
            await until(lambda: not sleeping(mark))
