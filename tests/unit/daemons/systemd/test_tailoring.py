"""What a configuration decides of the units."""

import pytest

from core.config.document import check_document
from core.errors import GatepostError
from daemons.config import DOCUMENTS, Document
from daemons.port import ports
from daemons.systemd.tailoring import NAME, drop_ins
from daemons.systemd.units import SYSTEM


def _document(role: str, **sections: object) -> Document:
    appliance = {"role": role, "serial": "S", "hostname": "m.example"}
    return check_document({"appliance": appliance} | sections, DOCUMENTS[role], "test")


def _text(document: Document, folder: str) -> str | None:
    return drop_ins(document).get(SYSTEM / folder / NAME)


def test_sockets_listen_where_the_configuration_says() -> None:
    document = _document("sma", console={"address": "192.0.2.1", "port": 2222}, cpq={"address": "::"})
    console = _text(document, "gatepost-console.socket.d")
    assert console is not None
    assert console.endswith("[Socket]\nListenStream=\nListenStream=192.0.2.1:2222\n")
    assert "ListenStream=[::]:7025\n" in (_text(document, "gatepost-cpq-listener.socket.d") or "")
    assert "ListenStream=127.0.0.1:443\n" in (_text(document, "gatepost-web.socket.d") or "")


def test_a_bastion_has_a_socket_for_each_port_of_appliances() -> None:
    section = {"engineer_address": "192.0.2.7", "ports": [22, 443], "address": "192.0.2.8"}
    document = _document("bastion", bastion=section)
    units = [port.unit for port in ports(document) if "bastion" in port.unit]
    assert units == ["gatepost-bastion@22.socket", "gatepost-bastion@443.socket", "gatepost-bastion-engineers.socket"]
    assert "ListenStream=192.0.2.8:443\n" in (_text(document, "gatepost-bastion@443.socket.d") or "")
    assert "ListenStream=192.0.2.7:22\n" in (_text(document, "gatepost-bastion-engineers.socket.d") or "")
    both = "gatepost-bastion@22.socket gatepost-bastion@443.socket\n"
    assert (_text(document, "gatepost-bastion.target.d") or "").endswith(f"[Unit]\nWants={both}")
    assert (_text(document, "gatepost-bastion.service.d") or "").endswith(f"[Service]\nSockets={both}")


def test_the_target_wants_as_many_gateways_as_are_configured() -> None:
    wanted = _text(_document("esa", runtime={"gateways": 3}), "gatepost-esa.target.d") or ""
    assert wanted.count("gatepost-gateway@") == 3
    assert "gatepost-gateway@2.service" in wanted
    assert _text(_document("sma", runtime={"gateways": 3}), "gatepost-sma.target.d") is None


def test_a_long_grace_is_a_long_time_to_stop() -> None:
    assert _text(_document("esa"), "gatepost-.service.d") is None
    longer = _text(_document("esa", runtime={"grace_s": 120}), "gatepost-.service.d") or ""
    assert longer.endswith("[Service]\nTimeoutStopSec=140\n")


def test_the_console_may_change_its_user_only_where_support_has_a_login_shell() -> None:
    assert _text(_document("esa"), "gatepost-console.service.d") is None
    assert _text(_document("esa", tunnel={"service_user": "gatepost"}), "gatepost-console.service.d") is None
    given = _text(_document("esa", tunnel={"service_user": "gatepost-support"}), "gatepost-console.service.d") or ""
    assert "CAP_SETUID" in given


def test_a_name_is_refused_since_systemd_listens_on_addresses_only() -> None:
    with pytest.raises(GatepostError, match=r"\[console\] localhost: a port that systemd opens needs an address"):
        drop_ins(_document("esa", console={"address": "localhost"}))
