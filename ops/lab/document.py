"""The lab's configuration documents: what `gatepost init` made, with the lab's own addresses."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from ops.lab.layout import BASTION_PORTS, CONSOLE, CPQ, DNS, OUTBOUND, SMTP, WEB, Layout

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
address = "{esa}"
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
address = "{esa}"
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
entries = ["127.0.0.0/8"]
rule = "RELAY"

[cpq]
address = "{esa}"
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
hop_sources = ["127.0.0.0/8"]  # on loopback every machine comes from the same address
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
unlimited_sources = ["127.0.0.0/8"]  # on loopback every machine comes from the same address

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


def document(role: str, made: str, layout: Layout, admin: str, trusted: Trusted) -> str:
    """Write the document of one machine of the lab; `admin` is the administrator's public key."""
    text = _COMMON + {"esa": _ESA, "sma": _SMA, "bastion": _BASTION}[role]
    console = {"esa": layout.esa, "sma": layout.sma, "bastion": layout.bastion_management}[role]
    return appliance_table(made) + text.format(
        dns=layout.dns,
        dns_port=DNS,
        console=console,
        console_port=CONSOLE,
        web_port=WEB,
        admin=admin,
        esa=layout.esa,
        sma=layout.sma,
        bastion=layout.bastion,
        engineers=layout.engineers,
        mailhost=layout.mailhost,
        smtp=SMTP,
        outbound=OUTBOUND,
        cpq=CPQ,
        first_port=BASTION_PORTS[0],
        ports=_numbers(BASTION_PORTS),
        shared_ports=_numbers(BASTION_PORTS[3:5]),
        bastion_host=trusted.bastion_host,
        support_keys="[" + ", ".join(f'"{key}"' for key in trusted.support_keys) + "]",
    )


def zone(layout: Layout) -> str:
    """Write the lab's zone: the outside world's mail domain and the bastion's names."""
    rows = [
        "example.test. 300 MX 10 mx.example.test.",
        f"example.test. 300 A {layout.mailhost}",
        f"mx.example.test. 300 A {layout.mailhost}",
        f"esa.example.test. 300 A {layout.esa}",
        f"sma.example.test. 300 A {layout.sma}",
    ]
    for name in ("upgrades", "c.tunnels", "m.tunnels", "x.tunnels", "s.tunnels"):
        rows.append(f"{name}.gatepost.test. 300 A {layout.bastion}")
        rows += [
            f"_gatepost-tunnel._tcp.{name}.gatepost.test. 300 SRV 10 10 {port} {name}.gatepost.test."
            for port in BASTION_PORTS[:1]
        ]
    return "\n".join(rows) + "\n"


def _numbers(values: Sequence[int]) -> str:
    return "[" + ", ".join(str(value) for value in values) + "]"
