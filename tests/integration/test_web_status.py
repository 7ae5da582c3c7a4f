"""The figures of a machine over HTTPS: real daemons, a real certificate that is replaced while they run."""

import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core import pki
from core.password import make_hash
from ops.lab.document import appliance_table
from tests.support.lab import GATEPOST, gatepost, refused, short_folder
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
PASSWORD = "correct horse"


class Esa(NamedTuple):
    """A machine with the daemons that the page is about."""

    folder: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]]

    def get(self, path: str, password: str = PASSWORD) -> httpx2.Response:
        context = ssl.create_default_context(cafile=str(self.folder / "keys/tls.crt"))
        with httpx2.Client(verify=context, timeout=60) as client:
            return client.get(f"https://localhost:{self.port}{path}", auth=("ana", password))


@contextmanager
def running(folder: Path) -> Iterator[Esa]:
    assert gatepost("init", "--role", "esa", "--dir", str(folder), "--hostname", "localhost").status == 0
    config, port = folder / "gatepost.toml", free_port()
    config.write_text(
        appliance_table(config.read_text())
        + f"\n[console]\nport = {free_port()}\nstatus_log_s = 0.2\n[web]\nport = {port}\n"
        + f"[health]\nport = {free_port()}\n"
        + f'[[user]]\nname = "ana"\nrole = "guest"\npassword = "{make_hash(PASSWORD)}"\n'
        + f'[[listener]]\nname = "In"\naddress = "127.0.0.1"\nport = {free_port()}\nrat = ["example.test"]\n'
    )
    processes = {
        daemon: subprocess.Popen([*GATEPOST, "run", daemon, "--config", str(config)])
        for daemon in ("gateway", "delivery-queue", "console", "web")
    }
    esa = Esa(folder, port, processes)
    try:
        eventually(lambda: _answers(esa), within_s=60)
        yield esa
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(60)


def _answers(esa: Esa) -> bool:
    try:
        up = esa.get("/metrics").text
        return all(f'gatepost_up{{daemon="{name}"}} 1.0' in up for name in ("gateway-0", "delivery-queue"))
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="module")
def esa() -> Iterator[Esa]:
    with short_folder() as folder, running(folder / "esa") as machine:
        yield machine


def test_status_as_xml_is_the_machine_s(esa: Esa) -> None:
    answer = esa.get("/xml/status")
    assert answer.status_code == 200
    root = ElementTree.fromstring(answer.content)
    assert root.get("hostname") == "localhost"
    assert root.find("system").get("status") == "online"  # type: ignore[union-attr]
    gauges = {one.get("name"): one.get("current") for one in root.iter("gauge")}
    assert int(gauges["kbytes_free"] or 0) > 0
    assert gauges["conn_in"] == "0"


def test_processor_and_disk_gauges_come_within_seconds(esa: Esa) -> None:
    def measured() -> bool:
        text = esa.get("/metrics").text
        names = {family.name for family in text_string_to_metric_families(text)}
        return {"gatepost_cpu_utilization", "gatepost_total_utilization", "gatepost_log_used"} <= names

    eventually(measured)


def test_the_health_port_needs_no_password_and_moves_with_the_configuration(esa: Esa) -> None:
    config = esa.folder / "gatepost.toml"
    before, after = int(config.read_text().partition("[health]\nport = ")[2].partition("\n")[0]), free_port()
    answer = httpx2.get(f"http://127.0.0.1:{before}/readyz", timeout=60)
    assert (answer.status_code, answer.json()["ready"]) == (503, False), "not all daemons were started"
    assert httpx2.get(f"http://127.0.0.1:{before}/metrics", timeout=60).status_code == 200
    config.write_text(config.read_text().replace(f"[health]\nport = {before}", f"[health]\nport = {after}"))
    esa.processes["web"].send_signal(signal.SIGHUP)
    eventually(lambda: refused(f"127.0.0.1:{before}"), within_s=60)
    eventually(lambda: not refused(f"127.0.0.1:{after}"), within_s=60)
    assert httpx2.get(f"http://127.0.0.1:{after}/healthz", timeout=60).json() == {"state": "ok"}


def test_a_wrong_password_gets_nothing(esa: Esa) -> None:
    answer = esa.get("/xml/status", "wrong")
    assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
    log = esa.folder / "log/cli_logs/cli.current"
    refused = "Access: web log-in of ana from 127.0.0.1 refused: wrong password"
    eventually(lambda: refused in log.read_text(), despite=(FileNotFoundError,))


def test_the_status_log_has_a_line(esa: Esa) -> None:
    log = esa.folder / "log/status_logs/status.current"
    eventually(lambda: log.exists() and " Info: Status: " in log.read_text() and " InjMsg 0 " in log.read_text())


def test_a_new_certificate_is_shown_after_sighup_without_a_restart(esa: Esa) -> None:
    keys = esa.folder / "keys"
    before = (keys / "tls.crt").read_bytes()
    key, certificate = pki.make_server_certificate("localhost")
    (keys / "tls.key").write_bytes(key)
    (keys / "tls.crt").write_bytes(certificate)
    with pytest.raises(httpx2.ConnectError):
        esa.get("/metrics")  # the old one is still shown, and only the new one is trusted
    esa.processes["web"].send_signal(signal.SIGHUP)
    eventually(lambda: _answers(esa), within_s=60)
    assert certificate != before
