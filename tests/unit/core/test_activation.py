"""Listening sockets that the service manager hands over."""

import os
import socket
from collections.abc import Iterator

import pytest

from core import activation
from core.errors import GatepostError
from core.port import listen


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """One socket named `console`, handed over as the service manager does it; the test keeps the manager's copy."""
    monkeypatch.setattr(activation, "_held", [])
    monkeypatch.setattr(activation, "_own", [])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with socket.create_server(("127.0.0.1", port)) as mine:  # one that the kernel had chosen would change with shutdown
        theirs = mine.dup().detach()
        monkeypatch.setattr(activation, "FIRST", theirs)
        environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "console", "PATH": "/bin"}
        activation.inherit(environ)
        assert environ == {"PATH": "/bin"}, "children are handed nothing"
        assert not os.get_inheritable(theirs)
        yield mine
        for one in activation._held:
            one.sock.close()


def connect(address: tuple[str, int]) -> None:
    socket.create_connection(address, 5).close()


def test_variables_that_are_meant_for_another_process_are_not_gone_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "_held", [])
    activation.inherit({"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    activation.inherit({"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())})
    activation.inherit({})
    assert activation._held == []


def test_a_listener_takes_the_socket_of_its_address(handed: socket.socket) -> None:
    host, port = handed.getsockname()
    with listen("console", host, port, backlog=5) as taken:
        assert not taken.getblocking()
        with socket.create_connection((host, port), 5):
            peer, _ = taken.accept()
            peer.close()
    assert activation.unused() == []
    assert activation.in_use()
    connect((host, port))  # the manager's copy goes on: whoever comes meanwhile waits for the next process


def test_a_port_that_others_share_is_never_taken_over(handed: socket.socket) -> None:
    with pytest.raises(GatepostError, match="in use"):
        listen("gateway", *handed.getsockname(), backlog=5, reuse_port=True)


def test_a_withdrawn_socket_refuses_until_somebody_listens_again(handed: socket.socket) -> None:
    host, port = handed.getsockname()
    listen("cpq", host, port, backlog=5).close()
    activation.withdraw(host, port)
    with pytest.raises(ConnectionRefusedError):
        connect((host, port))
    with listen("cpq", host, port, backlog=5):
        connect((host, port))
    activation.withdraw(host, port)
    activation.give_back()
    connect((host, port))


def test_a_socket_that_fits_nothing_is_named_with_the_remedy_and_refuses(handed: socket.socket) -> None:
    host, port = handed.getsockname()
    assert not activation.in_use()
    assert activation.misfits() == f"{host}:{port}"
    with listen("console", "127.0.0.1", 0, backlog=5):
        (line,) = activation.unused()
    assert f"{host}:{port} (console) is not configured here" in line
    assert "127.0.0.1:0 by itself" in line
    assert "gatepost systemd install" in line
    with pytest.raises(ConnectionRefusedError):
        connect((host, port))


def test_an_address_that_cannot_be_had_tells_which_was_handed_over(handed: socket.socket) -> None:
    host, port = handed.getsockname()
    with pytest.raises(GatepostError, match=f"hands over {host}:{port} instead: `gatepost systemd install`"):
        listen("console", "192.0.2.1", 22, backlog=5)


def test_version_6_is_written_with_brackets() -> None:
    assert activation._text("::1", 25) == "[::1]:25"
    assert activation._same("::1", "0:0:0:0:0:0:0:1")
    assert not activation._same("0.0.0.0", "127.0.0.1")


def test_lies_about_what_was_handed_over_take_nothing_and_harm_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "_held", [])
    reader, writer = os.pipe()
    monkeypatch.setattr(activation, "FIRST", reader)
    monkeypatch.setattr(activation, "_MOST", writer - reader + 1)
    for number in ("1", "99999999999999999999", "²", "-1", " 1", "0"):
        activation.inherit({"LISTEN_FDS": number, "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a:b"})
    for kind in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_UNIX, socket.SOCK_STREAM)):
        with socket.socket(*kind) as other:
            monkeypatch.setattr(activation, "FIRST", other.fileno())
            activation.inherit({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
            os.fstat(other.fileno())
    assert activation._held == []
    os.write(writer, b"still open")
    assert os.read(reader, 10) == b"still open"
    os.close(reader)
    os.close(writer)
