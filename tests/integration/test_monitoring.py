"""A real Prometheus scrapes real machines: every metric is known, every panel and every alert can be evaluated."""

import json
import re
import smtplib
import subprocess
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.metric import METRICS, metric_of
from tests.support.lab import Lab, gatepost, ran
from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs("prometheus", "promtool")]
MONITORING = Path(__file__).parents[2] / "etc/monitoring"
HEALTH = 9825
ROLES = ("esa", "sma", "bastion")
EVENTS_ONLY = re.compile("quota")
"""Panels that may be empty: no quota is set."""


def place(lab: Lab, role: str) -> str:
    section = tomllib.loads(lab.config(role).read_text())["health"]
    return f"{section['address']}:{HEALTH}"


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Collector:
    """Prometheus with the rules that Gatepost ships."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        (folder / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
        text = (MONITORING / "prometheus.yml").read_text().replace("15s", "1s")
        assert '["127.0.0.1:9825"]' in text
        (folder / "prometheus.yml").write_text(text.replace('["127.0.0.1:9825"]', json.dumps(targets)))
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stderr=self.log,
        )

    def api(self, what: str, **query: str) -> Any:
        status, text = fetch(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(query)}")
        assert status == 200, (what, query, status, text)
        document = json.loads(text)
        assert document["status"] == "success", (what, query, document)
        return document["data"]

    def values(self, expression: str) -> list[dict[str, Any]]:
        return list(self.api("query", query=expression)["result"])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytest.fixture(scope="module")
def collector(standing_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    lab = standing_lab
    made = Collector(tmp_path_factory.mktemp("prometheus"), [place(lab, role) for role in ROLES])
    try:
        lab.wait_delivered(sent(lab))
        still_starts = (OSError, AssertionError)
        eventually(lambda: _answers(made), "all are scraped several times", within_s=60, despite=still_starts)
        yield made
    finally:
        made.close()


def sent(lab: Lab) -> str:
    recipient = lab.address()
    lab.send([recipient], b"Subject: to be counted\r\n\r\nhello\r\n")
    host, _, port = lab.place("esa", "smtp").rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=30) as stranger:
        stranger.ehlo("stranger.test")
        stranger.mail("a@stranger.test")
        assert stranger.rcpt("nobody@elsewhere.invalid")[0] == 550, "refused, and counted as such"
    return recipient


def _answers(collector: Collector) -> bool:
    return len(collector.values("count_over_time(gatepost_up[20s]) > 4")) >= 3 * 4


def expressions() -> list[tuple[str, str]]:
    """Give title and expression of every panel."""
    document = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return [(panel["title"], one["expr"]) for panel in document["panels"] for one in panel.get("targets", ())]


def test_every_panel_of_the_dashboard_has_data(collector: Collector) -> None:
    assert len(expressions()) > 30
    for title, expression in expressions():
        query = expression.replace("$__rate_interval", "20s").replace("$instance", ".*")
        assert "$" not in query
        if not EVENTS_ONLY.search(expression):  # a rate needs two scrapes within its time
            eventually(lambda query=query: collector.values(query), f"{title}: {query}")  # type: ignore[misc]
        else:
            collector.values(query)


def test_every_alert_is_evaluated_without_a_fault(collector: Collector) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in collector.api("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: all(rule["health"] == "ok" for rule in rules()), "all rules evaluated")
    names = re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text())
    assert [rule["name"] for rule in rules()] == names
    assert [rule["lastError"] for rule in rules() if rule.get("lastError")] == []
    for rule in rules():
        for name in re.findall(r"gatepost_(\w+)", rule["query"]):
            assert collector.values(f"gatepost_{name}"), f"{rule['name']} asks for {name}, which nobody gives"


def test_every_metric_is_in_the_table_and_the_table_promises_no_other(collector: Collector) -> None:
    given = {
        name.removeprefix("gatepost_")
        for name in collector.api("label/__name__/values")
        if name.startswith("gatepost_")
    }
    assert {name for name in given if metric_of(name) is None} == set()
    missing = {one.name for one in METRICS if "RULE" not in one.name} - given
    assert missing <= {"disk_utilization"}, "some disks have no statistics"


@pytest.mark.parametrize("role", ROLES)
def test_the_health_port_and_the_command_agree(standing_lab: Lab, role: str) -> None:
    at = f"http://{place(standing_lab, role)}"
    assert fetch(f"{at}/healthz") == (200, '{"state":"ok"}')
    status, text = eventually(lambda: found if (found := fetch(f"{at}/readyz"))[0] == 200 else None, "it is ready")
    said = gatepost("health", "--ready", "--json", "--config", str(standing_lab.config(role)))
    assert (status, json.loads(text)["ready"]) == (200, True), text
    assert said.status == 0, said
    assert json.loads(said.out)["state"] in {"ok", "degraded"}
    shown = fetch(f"{at}/metrics")[1]
    assert "password" not in shown.lower()
    assert "example.test" not in shown, "no label holds a domain"


def test_a_dead_daemon_makes_the_machine_unready_until_it_is_back(standing_lab: Lab) -> None:
    lab, at = standing_lab, f"http://{place(standing_lab, 'sma')}"
    with lab.without("sma/release-host"):
        eventually(lambda: fetch(f"{at}/readyz")[0] == 503, "unready")
        (reason,) = [one for one in json.loads(fetch(f"{at}/readyz")[1])["reasons"] if one["state"] == "failed"]
        assert reason == {"check": "release-host", "state": "failed", "text": "does not run"}
        said = gatepost("health", "--config", str(lab.config("sma")))
        assert (said.status, "release-host    down       does not run" in said.out) == (69, True), said
        assert fetch(f"{at}/healthz")[0] == 200
    eventually(lambda: fetch(f"{at}/readyz")[0] == 200, "ready again", within_s=60)


def test_the_alert_rules_do_what_they_say() -> None:
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = ran(["promtool", *words], cwd=MONITORING)
        assert done.status == 0, done
    tested = re.findall(r"- name: (\w+)", (MONITORING / "alerts.test.yml").read_text())
    assert tested == re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text())
