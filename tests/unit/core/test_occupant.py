"""Who listens on a port."""

import os
import socket
from pathlib import Path

import pytest

from core.errors import GatepostError
from core.occupant import occupant
from core.port import listen

US = f"(process {os.getpid()})"


@pytest.mark.parametrize(
    ("family", "bound", "wanted"),
    [
        (socket.AF_INET, "127.0.0.1", ["127.0.0.1", "0.0.0.0", "::"]),
        (socket.AF_INET, "0.0.0.0", ["127.0.0.5", "0.0.0.0"]),
        (socket.AF_INET6, "::1", ["::1", "::"]),
        (socket.AF_INET6, "::", ["127.0.0.1", "::1"]),
    ],
)
def test_the_process_is_found_for_every_address_that_it_stands_in_the_way_of(
    family: socket.AddressFamily, bound: str, wanted: list[str]
) -> None:
    with socket.create_server((bound, 0), family=family) as sock:
        port = sock.getsockname()[1]
        assert [host for host in wanted if not occupant(host, port).endswith(US)] == []
        assert occupant("127.0.0.1", 1 if port != 1 else 2) == ""
    assert occupant(wanted[0], port) == ""


def test_an_address_beside_it_is_nobodys() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert occupant("127.0.0.2", sock.getsockname()[1]) == ""


def test_where_processes_are_not_to_be_seen_the_error_says_how_to_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(GatepostError) as known:
            listen("console", "127.0.0.1", port, backlog=5)
        assert f"127.0.0.1:{port}: Address already in use by " in known.value.text
        assert f"{US}; stop it, or choose another port" in known.value.text
        monkeypatch.setattr("core.port.occupant", lambda host, port: occupant(host, port, tmp_path))
        with pytest.raises(GatepostError, match=f"ss -ltnp 'sport = :{port}'"):
            listen("console", "127.0.0.1", port, backlog=5)


def test_a_name_that_a_process_gives_itself_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        (tmp_path / "net").symlink_to("/proc/net")
        (tmp_path / "7" / "fd").mkdir(parents=True)
        (tmp_path / "7" / "fd" / "3").symlink_to(os.readlink(f"/proc/self/fd/{sock.fileno()}"))
        (tmp_path / "7" / "comm").write_bytes(b"\x1b]0;\xffe\nvil\n")
        assert occupant("127.0.0.1", sock.getsockname()[1], tmp_path) == "?]0;\ufffde?vil (process 7)"
        assert occupant("localhost", sock.getsockname()[1], tmp_path) == ""
