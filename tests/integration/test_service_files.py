"""Support fetches and leaves files with stock sftp and scp: three folders, and no way out of them."""

import asyncio
import hashlib
import json
import os
from pathlib import Path

import asyncssh
import pytest
from asyncssh.packet import String, UInt32, UInt64

from tests.support.need import needs
from tests.support.visit import Stock, Visited, connect, visited
from tests.support.waiting import until

pytestmark = [needs("ssh"), needs("sftp"), needs("scp")]


def engineer(appliance: Visited) -> Stock:
    return Stock(appliance, *appliance.enable().certificate())


def noted(cast: list) -> list[dict]:
    return [found for found in _marks(cast) if found["kind"] == "file"]


def _marks(cast: list) -> list[dict]:
    return [json.loads(text) for _, code, text in cast[1:] if code == "m"]


async def test_captures_and_logs_are_fetched_and_noted_with_their_hash(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    async with visited(tmp_path) as appliance:
        (tmp_path / "captures" / "one.pcap").write_bytes(content)
        (tmp_path / "log" / "mail_logs").mkdir()
        (tmp_path / "log" / "mail_logs" / "mail.current").write_text("a line\n")
        support = engineer(appliance)
        status, out, errors = await support.sftp(
            "ls -l",
            "cd captures",
            f"get one.pcap {tmp_path}/got.pcap",
            f"get /logs/mail_logs/mail.current {tmp_path}/got.log",
        )
        (cast,) = await appliance.recordings()
    assert status == 0, errors
    assert all(name in out for name in (b"captures", b"configuration", b"logs"))
    assert (tmp_path / "got.pcap").read_bytes() == content
    assert (tmp_path / "got.log").read_text() == "a line\n"
    first, second = noted(cast)
    sha256 = hashlib.sha256(content).hexdigest()
    assert (first["path"], first["direction"], first["sha256"]) == ("/captures/one.pcap", "get", sha256)
    assert (first["octets"], first["complete"]) == (3_000_000, True)
    assert second["path"] == "/logs/mail_logs/mail.current"
    assert next(each["sha256"] for each in appliance.log("service-file")) == sha256


async def test_a_file_put_into_configuration_appears_whole_and_replaces_nothing(tmp_path: Path) -> None:
    content = os.urandom(2_000_000)
    mine = tmp_path / "new.toml"
    mine.write_bytes(content)
    async with visited(tmp_path / "machine") as appliance:
        folder = tmp_path / "machine" / "configuration"
        (folder / "there.toml").write_text("kept")
        support = engineer(appliance)
        status, _, errors = await support.sftp(f"put {mine} configuration/new.toml")
        assert status == 0, errors
        assert (folder / "new.toml").read_bytes() == content
        assert (await support.sftp(f"put {mine} configuration/there.toml"))[0] != 0
        assert (folder / "there.toml").read_text() == "kept"
        assert sorted(path.name for path in folder.iterdir()) == ["new.toml", "there.toml"]
        casts = await appliance.recordings()
    (put,) = noted(casts[0])
    assert (put["direction"], put["sha256"]) == ("put", hashlib.sha256(content).hexdigest())


async def test_a_configuration_saved_with_its_passwords_is_not_there_for_support(tmp_path: Path) -> None:
    """Support could fetch what it sees only masked in its console."""
    async with visited(tmp_path / "machine") as appliance:
        folder = tmp_path / "machine" / "configuration"
        (folder / "masked.toml").write_text("masked")
        (folder / "plain.toml").write_text("secret")
        (folder / "plain.toml").chmod(0o600)
        support = engineer(appliance)
        status, out, _ = await support.sftp("ls -l configuration")
        assert (status, b"masked.toml" in out, b"plain.toml" in out) == (0, True, False)
        assert (await support.sftp(f"get configuration/masked.toml {tmp_path}/got"))[0] == 0
        assert (await support.sftp(f"get configuration/plain.toml {tmp_path}/stolen"))[0] != 0
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["scp over sftp", "the old scp protocol"])
async def test_scp_both_ways(tmp_path: Path, legacy: bool) -> None:
    async with visited(tmp_path / "machine") as appliance:
        (tmp_path / "machine" / "captures" / "a.pcap").write_bytes(b"packets")
        (tmp_path / "b.toml").write_bytes(b"settings")
        support = engineer(appliance)
        got = await support.scp("@:captures/a.pcap", str(tmp_path / "got"), legacy=legacy)
        put = await support.scp(str(tmp_path / "b.toml"), "@:configuration/b.toml", legacy=legacy)
        away = await support.scp("@:/etc/passwd", str(tmp_path / "stolen"), legacy=legacy)
        up = await support.scp("@:../../../../../../etc/passwd", str(tmp_path / "stolen"), legacy=legacy)
    assert (got[0], put[0]) == (0, 0), (got, put)
    assert (tmp_path / "got").read_bytes() == b"packets"
    assert (tmp_path / "machine" / "configuration" / "b.toml").read_bytes() == b"settings"
    assert away[0] != 0
    assert up[0] != 0
    assert not (tmp_path / "stolen").exists()


ATTACKS = {
    "up": "get ../../../../etc/passwd STOLEN",
    "root": "get /etc/passwd STOLEN",
    "machine": "get /captures/../../keys/host_ed25519 STOLEN",
    "link to a file": "get /captures/file STOLEN",
    "link to a folder": "get /captures/folder/host_ed25519 STOLEN",
    "list through a link": "ls /captures/folder/",
    "pipe": "get /captures/pipe STOLEN",
    "hidden": "get /captures/.secret STOLEN",
    "other folder": "put MINE /captures/x",
    "log": "put MINE /logs/x",
    "root folder": "put MINE /x",
    "below": "put MINE /configuration/below/x",
    "hidden name": "put MINE /configuration/.x",
    "remove": "rm /configuration/kept",
    "rename": "rename /configuration/kept /configuration/other",
    "make a folder": "mkdir /configuration/folder",
    "remove a folder": "rmdir /configuration/below",
    "symbolic link": "symlink /etc/passwd /configuration/link",
    "hard link": "ln /configuration/kept /configuration/hard",
    "put through a link": "put MINE /configuration/out/x",
    "put onto a link": "put MINE /configuration/onto",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
async def test_there_is_no_way_out_and_nothing_else_can_be_done(tmp_path: Path, attack: str) -> None:
    machine = tmp_path / "machine"
    stolen, mine = tmp_path / "stolen", tmp_path / "mine"
    mine.write_text("mine")
    async with visited(machine) as appliance:
        (machine / "captures" / "file").symlink_to("/etc/passwd")
        (machine / "captures" / "folder").symlink_to(machine / "keys")
        (machine / "captures" / ".secret").write_text("secret")
        os.mkfifo(machine / "captures" / "pipe")
        (machine / "configuration" / "kept").write_text("kept")
        (machine / "configuration" / "below").mkdir()
        (machine / "configuration" / "out").symlink_to(tmp_path)
        (machine / "configuration" / "onto").symlink_to(tmp_path / "victim")
        before = _tree(machine / "configuration")
        line = attack.replace("STOLEN", str(stolen)).replace("MINE", str(mine))
        status, out, _ = await engineer(appliance).sftp(line)
        after = _tree(machine / "configuration")
    assert status != 0, out
    assert b"host_ed25519" not in out.partition(b"\n")[2]
    assert not stolen.exists() or stolen.read_bytes() == b""
    assert after == before
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "victim").exists()


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(path): str(path.readlink()) if path.is_symlink() else "folder" if path.is_dir() else path.read_text()
        for path in folder.rglob("*")
    }


async def test_a_folder_that_becomes_a_link_between_two_requests_leads_nowhere(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        async with connect(appliance, *support.certificate()) as connection, connection.start_sftp_client() as sftp:
            assert "captures" in await sftp.listdir("/")
            (tmp_path / "captures").rmdir()
            (tmp_path / "captures").symlink_to(tmp_path / "keys")
            with pytest.raises(asyncssh.SFTPError):
                await sftp.get("/captures/host_ed25519", tmp_path / "stolen")
    assert not (tmp_path / "stolen").exists() or not (tmp_path / "stolen").read_bytes()


async def test_an_upload_whose_connection_drops_leaves_nothing(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        async with connect(appliance, *support.certificate()) as connection:
            sftp = await connection.start_sftp_client()
            file = await sftp.open("/configuration/half.toml", "wb")
            await file.write(b"half")
            connection.abort()
        await until(lambda: not list((tmp_path / "configuration").iterdir()))


async def test_what_one_session_may_put_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.service.files.FILE_LIMIT", 1000)
    (tmp_path / "large").write_bytes(bytes(5000))
    async with visited(tmp_path / "machine") as appliance:
        status, _, errors = await engineer(appliance).sftp(f"put {tmp_path / 'large'} configuration/large")
        assert status != 0, errors
        await until(lambda: list((tmp_path / "machine" / "configuration").iterdir()) == [])


async def test_an_administrator_ends_a_transfer(tmp_path: Path) -> None:
    async with visited(tmp_path) as appliance:
        support = appliance.enable()
        async with connect(appliance, *support.certificate()) as connection:
            await connection.start_sftp_client()
            (live,) = (await appliance.verbs["service_sessions"]({}))["sessions"]
            assert live["kind"] == "files"
            await appliance.verbs["service_kill"]({"id": live["id"]})
            assert not appliance.side.desk.live


async def test_a_client_that_takes_no_answers_is_asked_no_more_and_fills_no_memory(tmp_path: Path) -> None:
    def packet(kind: int, *parts: bytes) -> bytes:
        body = bytes([kind]) + b"".join(parts)
        return UInt32(len(body)) + body

    async with visited(tmp_path) as appliance:
        (tmp_path / "captures" / "large.pcap").write_bytes(bytes(1 << 20))
        async with connect(appliance, *appliance.enable().certificate()) as connection:
            writer, reader, _ = await connection.open_session(subsystem="sftp", encoding=None)
            writer.write(
                packet(1, UInt32(3)) + packet(3, UInt32(1), String("/captures/large.pcap"), UInt32(1), UInt32(0))
            )
            for _ in range(2):
                answer = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            handle = answer[9:]
            writer.channel.pause_reading()
            for number in range(200):
                writer.write(packet(5, UInt32(number), String(handle), UInt64(0), UInt32(256 * 1024)))
            (live,) = appliance.side.desk.live.values()
            await until(live._chan.get_write_buffer_size)
            await asyncio.sleep(0.3)
            assert live._chan.get_write_buffer_size() < 4 * 256 * 1024
            writer.channel.resume_reading()
            async with asyncio.timeout(60):
                await reader.readexactly(200 * (13 + 256 * 1024))
