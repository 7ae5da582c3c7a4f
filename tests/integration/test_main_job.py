"""The lab as its users meet it: the main job, and `lab up`, `down`, `kill`, `start` (design.md section 11)."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import GATEPOST, Lab, alive, gatepost, guarded, ran, refused, running_lab, short_folder
from tests.support.need import needs
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs("ssh")]
DEMO_NET, NET = "127.21", "127.22"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with running_lab(NET, "127.122") as lab:
        yield lab


def processes_of(folder: Path) -> list[str]:
    """Command lines of what runs for a lab."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"{folder}/" in line:
            found.append(line)
    return found


@pytest.mark.timeout(360)  # two labs are brought up
def test_the_main_job_holds_while_another_lab_is_up(lab: Lab) -> None:
    done = gatepost("lab", "demo", "--messages", "60", "--net", DEMO_NET, within_s=150)
    assert done.status == 0, done
    rows = dict(re.findall(r"^  +(\S.*?) {2,}(\d+ +\d+  \S+.*)$", done.out, re.MULTILINE))
    expected = {
        "messages sent": "60 60 ok",
        "straight through": "35 35 ok",
        "held": "15 15 ok",
        "released and delivered": "8 8 ok",
        "deleted, yet delivered": "0 0 ok",
        "dropped or bounced, yet delivered": "0 0 ok",
        "bounces to their senders": "5 5 ok",
        "recipients that got two": "0 0 ok",
        "messages whose bytes changed": "0 0 ok",
        "support reached the ESA": "1 1 ok",
        "fetched a capture by SFTP": "1 1 ok",
        "reached the SMA through the ESA": "1 1 ok",
        "the same, straight through the bastion": "1 1 ok",
        "recordings hold what was done": "1 1 ok",
    }
    assert {name: " ".join(rows.get(name, "missing").split()) for name in expected} == expected
    assert "WRONG" not in done.out
    assert re.search(r"^  all of it holds \(\d+ s\)$", done.out, re.MULTILINE)
    # The other lab has noticed nothing.
    assert lab.control("esa", "gateway-0", "health")["state"] == "ready"
    assert lab.counted() == {}


def test_lab_json_has_every_field(lab: Lab) -> None:
    facts = lab.facts
    for role, number in (("esa", 1), ("sma", 2)):
        host = f"{lab.net}.{number}.1"
        one = facts[role]
        assert Path(one["config"]) == lab.dir / role / "gatepost.toml"
        assert Path(one["config"]).is_file()
        assert re.fullmatch(r"[A-Za-z0-9._-]+", one["serial"])
        assert {name: one[name] for name in ("cpq", "ssh", "web")} == {
            "cpq": f"{host}:7025",
            "ssh": f"{host}:2222",
            "web": f"{host}:8443",
        }
    assert facts["esa"]["smtp"] == f"{lab.net}.1.1:2525"
    assert facts["bastion"]["config"] == str(lab.config("bastion"))
    assert sorted(facts["bastion"]["ports"]) == sorted(
        f"{lab.net}.3.1:{port}" for port in (2022, 2025, 2053, 2080, 2443, 4766)
    )
    assert facts["bastion"]["engineers"] == f"{lab.net}.3.2:2222"
    assert facts["mailhost"] == {"smtp": f"{lab.net}.9.1:2525", "maildir": str(lab.dir / "mailhost" / "maildir")}
    assert facts["dns"] == f"{lab.net}.8.1:5353"
    for file in (facts["admin_key"], facts["known_hosts"], *facts["engineer"].values()):
        assert Path(file).is_file(), file
    assert set(facts["engineer"]) == {"key", "certificate", "known_hosts"}
    assert {"esa/gateway", "esa/cpq-listener", "esa/delivery-queue", "sma/release-host", "bastion/bastion"} <= set(
        facts["pids"]
    )
    for name, pids in facts["pids"].items():
        assert pids, name
        assert all(alive(pid) for pid in pids), name


def test_a_message_comes_out_as_it_went_in_with_the_trace_on_top(lab: Lab) -> None:
    to, other = lab.address(), lab.address()
    content = b"Subject: \xc3\xbcber\r\nX-Odd:a\r\n\tb\r\n\r\n.\r\n..\r\n\xff 8 bit\r\n"
    lab.send([to, other], content)
    arrival = lab.wait_delivered(to)
    assert arrival.sender == "outside@sender.test"
    assert set(arrival.recipients) == {to, other}
    assert arrival.content.endswith(content)
    top = arrival.content.removesuffix(content)
    assert top.startswith(b"Received: from ")
    assert top.endswith(b"\r\n")


def test_the_pages_of_the_zone_are_served(lab: Lab) -> None:
    import dns.message
    import dns.query

    host, _, port = lab.facts["dns"].rpartition(":")
    for name, kind in (("example.test.", "MX"), ("upgrades.gatepost.test.", "A"), ("example.test.", "A")):
        answer = dns.query.udp(dns.message.make_query(name, kind), host, port=int(port), timeout=30)
        assert len(answer.answer) == 1, name


def test_what_is_killed_is_gone_and_comes_back_under_a_new_id(lab: Lab) -> None:
    before = lab.facts["pids"]["esa/gateway"]
    lab.kill("esa/gateway")
    assert refused(lab.place("esa", "smtp"))
    assert not any(alive(pid) for pid in before)
    lab.start("esa/gateway")
    after = lab.facts["pids"]["esa/gateway"]
    assert after != before
    to = lab.address()
    lab.send([to], b"Subject: after the kill\r\n\r\nhello\r\n")
    assert lab.wait_delivered(to).content.endswith(b"hello\r\n")


def test_starting_what_runs_already_is_refused_and_loses_no_process(lab: Lab) -> None:
    before = lab.facts["pids"]["esa/web"]
    again = gatepost("lab", "start", "esa/web", "--dir", str(lab.dir))
    assert again.status != 0
    assert len(again.err.splitlines()) == 1, again
    assert lab.facts["pids"]["esa/web"] == before


def test_a_name_that_the_lab_does_not_have_is_said_with_those_it_has(lab: Lab) -> None:
    for verb in ("kill", "start"):
        done = gatepost("lab", verb, "esa/nothing", "--dir", str(lab.dir))
        assert done.status == 64
        assert len(done.err.splitlines()) == 1
        assert "esa/nothing" in done.err
        assert "esa/gateway" in done.err


def test_a_folder_without_a_lab_is_named(tmp_path: Path) -> None:
    for words in (["down"], ["kill", "sma"], ["start", "sma"]):
        done = gatepost("lab", words[0], *words[1:], "--dir", str(tmp_path))
        assert (done.status, len(done.err.splitlines())) == (66, 1), done
        assert str(tmp_path) in done.err


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = gatepost("lab", "up", "--dir", str(tmp_path), "--net", DEMO_NET)
    assert done.status == 64
    assert len(done.err.splitlines()) == 1
    assert str(tmp_path) in done.err
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("net", ["127.256", "10.0", "127", "127.1.2"])
def test_a_net_that_is_none_is_usage(tmp_path: Path, net: str) -> None:
    done = gatepost("lab", "up", "--dir", str(tmp_path / "lab"), "--net", net)
    assert (done.status, len(done.err.splitlines())) == (64, 1)
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize(
    ("kind", "host", "port"),
    [
        (socket.SOCK_STREAM, f"{DEMO_NET}.2.1", 7025),
        (socket.SOCK_STREAM, f"{DEMO_NET}.9.1", 2525),
        (socket.SOCK_DGRAM, f"{DEMO_NET}.8.1", 5353),
    ],
)
def test_a_port_in_use_is_named_and_nothing_is_left(
    tmp_path: Path, kind: socket.SocketKind, host: str, port: int
) -> None:
    with socket.socket(type=kind) as other:
        if kind == socket.SOCK_STREAM:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((host, port))
        if kind == socket.SOCK_STREAM:
            other.listen()
        done = gatepost("lab", "up", "--dir", str(tmp_path / "lab"), "--net", DEMO_NET)
    assert done.status == 69, done
    assert len(done.err.splitlines()) == 1
    assert f"{host}:{port}" in done.err
    assert not (tmp_path / "lab").exists()


def test_a_lab_that_fails_halfway_takes_down_what_it_started() -> None:
    with short_folder() as short:
        # Too long for control sockets: the machines are made and the daemons started, and then these refuse.
        folder = short / ("long" * 25)
        folder.mkdir()
        done = gatepost("lab", "up", "--dir", str(folder), "--net", DEMO_NET)
        assert done.status != 0
        assert "Traceback" not in done.err
        assert "107 bytes" in done.err
        assert list(folder.iterdir()) == []
        assert processes_of(folder) == []


def test_a_lab_that_is_up_holds_nothing_of_its_caller_and_down_ends_it() -> None:
    with short_folder() as short, guarded(short):
        folder = short / "lab"
        folder.mkdir()
        ours, theirs = os.pipe()
        try:
            # In an empty folder that exists, with standard streams and one more descriptor that would keep a pipe open.
            process = subprocess.run(
                [*GATEPOST, "lab", "up", "--dir", str(folder), "--net", DEMO_NET],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                pass_fds=[theirs],
                timeout=150,
                check=False,
            )
            # run() has read both streams to their ends; now the pipe has to end too.
            os.close(theirs)
            theirs = -1
            os.set_blocking(ours, False)
            assert process.returncode == 0, process
            assert os.read(ours, 1) == b""
        finally:
            for descriptor in (ours, theirs):
                if descriptor >= 0:
                    os.close(descriptor)
            pids = [
                pid for several in json.loads((folder / "lab.json").read_text())["pids"].values() for pid in several
            ]
            assert all(alive(pid) for pid in pids)
            down = gatepost("lab", "down", "--dir", str(folder))
        assert down.status == 0, down
        eventually(lambda: not any(alive(pid) for pid in pids))
        assert processes_of(folder) == []
        assert refused(f"{DEMO_NET}.1.1:2525")
        assert json.loads((folder / "lab.json").read_text())["pids"] == {}
        # A second `down` finds nothing to do.
        assert gatepost("lab", "down", "--dir", str(folder)).status == 0


def test_sending_by_hand_reaches_the_outside(lab: Lab) -> None:
    to = lab.address()
    sent = ran([*GATEPOST, "lab", "send", "--dir", str(lab.dir), to], stdin="Subject: by hand\r\n\r\nhi\r\n")
    assert sent.status == 0, sent
    assert lab.wait_delivered(to).content.endswith(b"Subject: by hand\r\n\r\nhi\r\n")
