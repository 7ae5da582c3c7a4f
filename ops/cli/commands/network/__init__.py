"""The network as an operator sees it: netstat, ping, traceroute, nslookup, dig, telnet, diagnostic, packetcapture."""

from ops.cli.commands.network import capture, capture_menu, diagnostic, lookup, netstat, reach, telnet

COMMANDS = (
    *capture_menu.COMMANDS,
    *capture.COMMANDS,
    *diagnostic.COMMANDS,
    *netstat.COMMANDS,
    *reach.COMMANDS,
    *lookup.COMMANDS,
    *telnet.COMMANDS,
)
