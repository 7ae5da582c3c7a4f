"""The ports of a machine that one daemon owns."""

from core.config.document import check_document
from daemons.config import DOCUMENTS, Document
from daemons.port import Port, opened_by_systemd, ports


def _document(role: str, **sections: object) -> Document:
    appliance = {"role": role, "serial": "S", "hostname": "m.example"}
    return check_document({"appliance": appliance} | sections, DOCUMENTS[role], "test")


def test_what_systemd_opens_and_what_daemons_do() -> None:
    bastion = {"engineer_address": "192.0.2.7", "ports": [22], "peer_port": 2222, "peer_address": "192.0.2.9"}
    document = _document("bastion", bastion=bastion)
    opened = ["console.port", "web.port", "bastion.ports", "bastion.engineer_port"]
    assert [port.key for port in opened_by_systemd(document)] == opened
    assert {port.key for port in ports(document)} == {*opened, "bastion.peer_port", "health.port"}


def test_a_health_port_that_is_closed_is_none() -> None:
    keys = [port.key for port in ports(_document("sma", health={"enabled": False}))]
    assert keys == ["console.port", "web.port", "cpq.port"]


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert [Port("web", one, 22).stream for one in ("::1", "192.0.2.1")] == ["[::1]:22", "192.0.2.1:22"]
    assert Port("web", "fe80::1%eth0", 22).stream == "[fe80::1%%eth0]:22"  # % is a specifier of systemd's
