"""Virtual gateways in the lab: what a filter and the table chose still holds when a quarantine lets a message go."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.lab import Lab, running_lab
from tests.support.waiting import eventually

INTERFACES = """
[[interface]]
name = "Out1"
address = "{net}.1.2"
hostname = "out1.example.test"
[[interface]]
name = "Out2"
address = "{net}.1.3"
hostname = "out2.example.test"
[[interface_group]]
name = "Pool"
interfaces = ["Out2"]
[[alt_source]]
match = "@table.test"
interface = "Out1"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab whose ESA has interfaces, taken over by SIGHUP."""
    with running_lab("127.37", "127.137") as one:
        filters = one.dir / "esa" / "filters.txt"
        config = one.config("esa")
        document = config.read_text()
        assert 'file = "filters.txt"' in document
        config.write_text(document + INTERFACES.format(net=one.net))
        filters.write_text("choose: if (subject == 'pool') { alt-src-host('Pool'); }\n" + filters.read_text())
        size = one.log_size("esa")
        for name in ("esa/gateway", "esa/cpq-listener", "esa/delivery-queue"):
            os.kill(one.facts["pids"][name][0], signal.SIGHUP)
        for words, times in (("Message filters reloaded", 2), ("Delivery tables reloaded", 1)):
            eventually(lambda words=words, times=times: one.log("esa", size).count(words) >= times)  # type: ignore[misc]
        yield one


@pytest.mark.parametrize(
    ("sender", "subject", "address"),
    [
        ("x@table.test", "[hold] by table", "1.2"),
        ("x@table.test", "[hold] pool", "1.3"),
        ("x@else.test", "[hold] plain", ""),
    ],
)
def test_a_released_message_leaves_by_the_virtual_gateway_that_was_chosen(
    lab: Lab, sender: str, subject: str, address: str
) -> None:
    to = lab.address("gateway")
    lab.send([to], f"Subject: {subject}\r\n\r\nx\r\n".encode(), sender)
    row = lab.wait_held(to)
    size = lab.log_size("esa")
    lab.control("sma", "release-host", "quarantine_release", ids=[row["id"]])
    lab.wait_delivered(to)
    opened = f"interface {lab.net}.{address} address" if address else "New SMTP DCID"
    eventually(lambda: opened in lab.log("esa", size), f"a connection from {address or 'the default'}")
    if not address:
        assert f"interface {lab.net}.1." not in lab.log("esa", size)
