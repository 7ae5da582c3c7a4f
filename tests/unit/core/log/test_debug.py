"""Debug logs: octets as they are shown, log-ins that are not, sessions that are counted, machines that are watched."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from core.config.section import LogSection
from core.log.book import Logs
from core.log.config import LogSubscriptionSection, subscriptions_of
from core.log.debug import DomainDebug, InjectionDebug, shown
from core.maillog import MailLog
from tests.support.gateway import gateway


def _logs(folder: Path, **row: object) -> tuple[Logs, MailLog]:
    section = LogSubscriptionSection.model_validate({"name": "watch", **row})
    logs = Logs(subscriptions_of(folder, LogSection(), [section]), "", key=folder / "push_ed25519")
    return logs, logs.open("mail")


def _lines(folder: Path, name: str = "injection") -> list[str]:
    return [line.split(" Info: ", 1)[1] for line in (folder / f"watch/{name}.current").read_text().splitlines()]


def _begin(debug: InjectionDebug, host: str = "192.0.2.7"):  # type: ignore[no-untyped-def]
    return debug.begin(SimpleNamespace(host=host, name=""), lambda: 5)


def test_octets_are_shown_as_printable_text() -> None:
    assert shown(b"a\\b\r\n\xe4\x1b'") == r"a\\b\015\012\344\033'"


def test_a_conversation_is_recorded_with_its_icid_and_client(tmp_path: Path) -> None:
    logs, log = _logs(tmp_path, type="injection_debug", clients=["192.0.2.0/24"])
    recording = _begin(InjectionDebug(logs, log))
    recording.sent(b"220 esa ESMTP\r\n")
    recording.received(b"EHLO c\r\n")
    recording.received(b"x" * 5000, content=True)
    log.flush()
    lines = _lines(tmp_path)
    assert lines[:2] == [
        r"5 Sent to '192.0.2.7': '220 esa ESMTP\015\012'",
        r"5 Rcvd from '192.0.2.7': 'EHLO c\015\012'",
    ]
    assert "".join(line.split("'")[3] for line in lines[2:]) == "x" * 5000


@pytest.mark.parametrize(
    "said",
    [
        [b"AUTH PLAIN c2VjcmV0\r\n"],
        [b"AUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\n"],
        [b"AUTH PLAIN " + b"QUJD" * 1500, b"QUJD", b"c2VjcmV0\r\n"],
        [b"AU", b"TH PL", b"AIN c2Vj", b"cmV0\r\n"],
        [b"NOOP\r\nauth plain c2VjcmV0\r\n"],
    ],
    ids=["whole", "not waited for", "longer than a line", "pieces", "behind"],
)
def test_what_somebody_logs_in_with_is_not_shown(tmp_path: Path, said: list[bytes]) -> None:
    logs, log = _logs(tmp_path, type="injection_debug", clients=["192.0.2.7"])
    recording = _begin(InjectionDebug(logs, log))
    for data in said:
        recording.received(data)
    recording.sent(b"334 VXNlcm5hbWU6\r\n")
    recording.received(b"c2Vj")
    recording.received(b"cmV0\r\n")
    recording.sent(b"235 ok\r\n")
    recording.received(b"QUIT\r\n")
    log.flush()
    text = "\n".join(_lines(tmp_path))
    assert "c2Vj" not in text
    assert "cmV0" not in text
    assert "QUIT" in text


def test_so_many_sessions_of_those_clients_are_recorded(tmp_path: Path) -> None:
    logs, log = _logs(tmp_path, type="injection_debug", clients=["192.0.2.7"], sessions=2)
    debug = InjectionDebug(logs, log)
    assert _begin(debug, "192.0.2.8") is None
    assert [_begin(debug) is not None for _ in range(4)] == [True, True, False, False]


def test_a_debug_log_that_is_taken_away_ends(tmp_path: Path) -> None:
    logs, log = _logs(tmp_path, type="domain_debug", domain="example.test")
    debug = DomainDebug(logs, log)
    recording = debug.begin("example.test", 9)
    assert recording is not None
    assert debug.begin("other.test", 9) is None
    recording.sent(b"QUIT\r\n")
    logs.follow([])
    assert not debug.active
    assert _lines(tmp_path, "domain") == [r"9 Sent: 'QUIT\015\012'"]
    assert log.companions == []


def test_a_listener_without_a_debug_log_makes_ordinary_machines(tmp_path: Path) -> None:
    from core.smtp.admission import Admission
    from core.smtp.door import Door
    from core.smtp.watched import WatchedServer
    from mail.access import listener_settings
    from mail.config import ListenerSection

    settings = listener_settings(ListenerSection(name="InboundMail"), "esa.example.test", tls=False)
    logs, log = _logs(tmp_path, type="injection_debug", clients=["192.0.2.7"])
    with gateway(tmp_path / "gateway") as under_test:
        session = under_test.connect().session
        for door, watched in ((Door(), False), (Door(debug=InjectionDebug(logs, log)), True)):
            admission = Admission(settings, lambda: session, None, None, door)
            assert isinstance(admission.make_machine(lambda: None), WatchedServer) is watched
