"""The firewall of the lab in containers: the customer's network gets out, nothing gets in.

Run as `python -m ops.lab.firewall ADDRESS NETWORK`: takes ADDRESS, which the customer's machines have as their gateway,
on the side of NETWORK, and forwards what comes from there under an own address (source NAT). Needs CAP_NET_ADMIN and
forwarding switched on (net.ipv4.ip_forward). Ends with SIGTERM; `nft list ruleset` shows what it set.
"""

import asyncio
import ipaddress
import signal
import sys

from core import program
from core.errors import EX_CONFIG, EX_OSERR, GatepostError
from core.runtime import run

_RULES = """\
add table ip firewall
flush table ip firewall
add chain ip firewall forward {{ type filter hook forward priority 0; policy drop; }}
add rule ip firewall forward ct state established,related accept
add rule ip firewall forward iifname "{inside}" ip saddr {network} ct state new accept
add chain ip firewall nat {{ type nat hook postrouting priority 100; }}
add rule ip firewall nat oifname != "{inside}" ip saddr {network} masquerade
"""


def rules(inside: str, network: str) -> str:
    """Write the rules for the device on the customer's side."""
    return _RULES.format(inside=inside, network=network)


async def _device(network: str) -> str:
    """Find the device that has an address of a network. Raises status 78 if none has."""
    wanted = ipaddress.ip_network(network)
    found = await _said("ip", "-oneline", "-4", "address")
    for line in found.splitlines():
        _, device, _, address, *_ = line.split()
        if ipaddress.ip_interface(address).ip in wanted:
            return device
    raise GatepostError(f"no device has an address of {network}; join the container to that network", EX_CONFIG)


async def _said(*words: str) -> str:
    done = await program.run(*words)
    if done.status:
        raise GatepostError(f"{' '.join(words)}: {done.reason}", EX_OSERR)
    return done.output


async def serve(address: str, network: str) -> int:
    """Set the rules and stay until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    inside = await _device(network)
    for rule in rules(inside, network).splitlines():
        await _said("nft", *rule.split())
    bits = ipaddress.ip_network(network).prefixlen
    await _said("ip", "address", "replace", f"{address}/{bits}", "dev", inside)
    print(f"firewall: {network} gets out through {address} on {inside}, nothing gets in", flush=True)
    await stop.wait()
    return 0


def main() -> int:
    """Run it; an error is one line."""
    try:
        return run(serve(sys.argv[1], sys.argv[2]))
    except GatepostError as error:
        sys.stderr.write(f"firewall: {error.text}\n")
        return error.status


if __name__ == "__main__":
    sys.exit(main())
