"""The lab's configuration documents: what `gatepost init` made, with the lab's own addresses."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.lab.layout import Layout

FILTERS = """\
# The lab's message filters; docs/filters.md describes the language.
hold_it:   if (subject == "\\\\[hold\\\\]")   { quarantine("Policy"); }
virus_it:  if (subject == "\\\\[virus\\\\]")  { quarantine("Virus"); }
drop_it:   if (subject == "\\\\[drop\\\\]")   { drop(); }
bounce_it: if (subject == "\\\\[bounce\\\\]") { bounce(); }
"""

_COMMON = """
[dns]
servers = ["{dns}:{dns_port}"]

[console]
address = "{console}"
port = {console_port}

[web]
address = "{console}"
port = {web_port}

[health]
address = "{console}"

[[user]]
name = "admin"
role = "administrator"
keys = ["{admin}"]
"""

_ESA = """
[filters]
file = "filters.txt"

[[route]]
domain = "ALL"
hosts = ["{mailhost}:{smtp}"]

[[listener]]
name = "InboundMail"
kind = "public"
address = "{inbound}"
port = {smtp}
rat = ["example.test"]

[listener.policy]
tls = "preferred"
max_message_size = "64M"
max_connections_per_address = 0
max_messages_per_session = 0
max_recipients_per_message = 1000
max_recipients_per_hour = 0
max_invalid_recipients_per_hour = 0

[[listener]]
name = "OutboundMail"
kind = "private"
address = "{console}"
port = {outbound}
default_rule = "REJECT"

[listener.policy]
tls = "preferred"
max_message_size = "64M"
max_connections_per_address = 0
max_messages_per_session = 0
max_recipients_per_message = 1000

[[listener.sender_group]]
name = "RELAYLIST"
entries = ["{inside}"]
rule = "RELAY"

[cpq]
address = "{console}"
port = {cpq}

[tunnel]
host = "upgrades.gatepost.test"
port = {first_port}
ports = {ports}
bastion_keys = ["{bastion_host}"]
support_keys = {support_keys}
hop_networks = ["{sma}/32"]
hop_port = {console_port}
"""

_SMA = """
[cpq]
address = "{sma}"
port = {cpq}

[[quarantine]]
name = "Policy"
retention = "10 days"
default_action = "delete"

[[quarantine]]
name = "Virus"
retention = "30 days"
default_action = "delete"

[tunnel]
host = "m.tunnels.gatepost.test"
port = {first_port}
ports = {ports}
bastion_keys = ["{bastion_host}"]
support_keys = {support_keys}
hop_sources = ["{inside}"]
"""

_BASTION = """
[bastion]
address = "{bastion}"
ports = {ports}
engineer_address = "{engineers}"
engineer_port = {console_port}
hop_port = {console_port}
names = ["upgrades.gatepost.test", "c.tunnels.gatepost.test", "m.tunnels.gatepost.test"]
shared_ports = {shared_ports}
unlimited_sources = ["{outside}"]  # every machine of the lab comes from there
{database}

[keyd]
derivations_per_hour = 1000  # in a lab access is enabled again and again
"""


def appliance_table(made: str) -> str:
    """Keep the [appliance] table of a document that `gatepost init` wrote."""
    facts = tomllib.loads(made)["appliance"]
    return "[appliance]\n" + "".join(f'{key} = "{value}"\n' for key, value in facts.items())


@dataclass(frozen=True)
class Trusted:
    """Public keys of the support organisation that the appliances pin."""

    bastion_host: str
    support_keys: Sequence[str]


def document(name: str, made: str, layout: Layout, admin: str, trusted: Trusted, *, database: str = "") -> str:
    """Write the document of one machine of the lab; `admin` is the administrator's public key.

    `database` is where the bastion keeps what it knows; empty = a file of its own.
    """
    role, ports = layout.machines[name], layout.ports
    text = _COMMON + {"esa": _ESA, "sma": _SMA, "bastion": _BASTION}[role]
    return appliance_table(made) + text.format(
        dns=layout.dns,
        dns_port=ports.dns,
        console=layout.console(name),
        console_port=ports.console,
        web_port=ports.web,
        admin=admin,
        inbound=layout.inbound(name) if role == "esa" else "",
        inside=layout.inside,
        outside=layout.outside,
        sma=layout.sma,
        bastion=layout.bastion,
        engineers=layout.engineers,
        mailhost=layout.mailhost,
        smtp=ports.smtp,
        outbound=ports.outbound,
        cpq=ports.cpq,
        first_port=ports.bastion[0],
        ports=_numbers(ports.bastion),
        shared_ports=_numbers(ports.bastion[3:5]),
        database=f'database = "{database}"' if database else "",
        bastion_host=trusted.bastion_host,
        support_keys="[" + ", ".join(f'"{key}"' for key in trusted.support_keys) + "]",
    )


def zone(layout: Layout, tlsa: Mapping[str, str] | None = None) -> str:
    """Write the lab's zone: its mail domain, the outside world's, and the bastion's names.

    `tlsa` has the data of the record that goes with the certificate of a mail exchanger, by its name.
    """
    rows = [f"example.test. 300 MX 10 {name}.example.test." for name in layout.exchangers]
    rows += [f"{name}.example.test. 300 A {address}" for name, address in _hosts(layout).items()]
    rows += [f"_{layout.ports.smtp}._tcp.{name}.example.test. 300 TLSA {data}" for name, data in (tlsa or {}).items()]
    rows += [
        f"example.test. 300 A {layout.mailhost}",
        "outside.test. 300 MX 10 mx.outside.test.",
        f"mx.outside.test. 300 A {layout.mailhost}",
    ]
    for name in ("upgrades", "c.tunnels", "m.tunnels", "x.tunnels", "s.tunnels"):
        rows.append(f"{name}.gatepost.test. 300 A {layout.bastion}")
        rows += [
            f"_gatepost-tunnel._tcp.{name}.gatepost.test. 300 SRV 10 10 {port} {name}.gatepost.test."
            for port in layout.ports.bastion[:1]
        ]
    return "\n".join(rows) + "\n"


def _hosts(layout: Layout) -> dict[str, str]:
    return {**layout.esas, **layout.exchangers, "sma": layout.sma}


def _numbers(values: Sequence[int]) -> str:
    return "[" + ", ".join(str(value) for value in values) + "]"
