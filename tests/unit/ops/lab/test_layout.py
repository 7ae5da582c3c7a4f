"""Places of a lab: on loopback as they were, in containers as compose.yaml has them; the zone that goes with each."""

import hashlib
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core.chain import tlsa_data
from core.errors import GatepostError
from core.pki import make_server_certificate
from ops.lab.document import zone
from ops.lab.layout import Layout
from ops.lab.nameserver import read_zone


def test_nothing_of_a_lab_shares_an_address_and_port_with_anything_else() -> None:
    for layout in (Layout.of(Path("lab"), "127.7"), Layout.containers(Path("lab"))):
        places = layout.sockets()
        assert len(set(places.values())) == len(places)


def test_a_net_that_is_none_is_wrong_usage() -> None:
    with pytest.raises(GatepostError) as caught:
        Layout.of(Path("lab"), "10.1")
    assert caught.value.status == 64


@pytest.mark.parametrize(
    ("facts", "net"), [({"dns": "127.9.8.1:5353"}, "127.9"), ({"place": "containers"}, "containers")]
)
def test_a_layout_is_read_back_from_the_facts(facts: dict[str, str], net: str) -> None:
    assert Layout.read(Path("lab"), facts).net == net


def test_in_containers_mail_goes_to_both_gateways_whose_keys_are_in_the_zone() -> None:
    _, certificate = make_server_certificate("esa1.example.test")
    key = x509.load_pem_x509_certificate(certificate).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    layout = Layout.containers(Path("lab"))
    rows = {
        (str(name), kind.name): str(rrset)
        for (name, kind), rrset in read_zone(zone(layout, {"esa1": tlsa_data(certificate)})).items()
    }
    assert rows["example.test.", "MX"].count("10 esa") == 2
    assert layout.exchangers["esa2"] in rows["esa2.example.test.", "A"]
    assert rows["_25._tcp.esa1.example.test.", "TLSA"].replace(" ", "").endswith(f"TLSA311{digest}")
    assert "25 upgrades.gatepost.test." in rows["_gatepost-tunnel._tcp.upgrades.gatepost.test.", "SRV"]


def test_containers_in_two_networks_were_a_way_around_the_firewall() -> None:
    text = (Path(__file__).parents[4] / "compose.yaml").read_text()
    hardened, services = text.split("\nservices:")
    assert 'net.ipv4.ip_forward: "0"' in hardened
    forwarding = [part for part in re.split(r"\n  (?=[a-z]+:)", services) if "sysctls:" in part]
    assert [part.partition(":")[0].strip().split()[-1] for part in forwarding] == ["setup", "firewall"]


def test_compose_gives_every_container_the_address_that_the_layout_has() -> None:
    text = (Path(__file__).parents[4] / "compose.yaml").read_text()
    given = set(re.findall(r"ipv4_address: ([0-9.]+)", text))
    layout = Layout.containers(Path("lab"))
    addresses = {host for host, _ in layout.sockets().values()} - {layout.bastion_management}
    assert addresses <= given
    assert layout.outside.removesuffix("/32") in given
    assert f"subnet: {layout.inside}" in text
    assert all(f"{name}:/lab/{name}" in text for name in layout.machines)
