"""The network as an operator sees it: netstat, ping, traceroute, nslookup, dig, telnet, diagnostic, packetcapture."""

from ops.cli.commands.network import lookup, netstat, reach, telnet

COMMANDS = (*netstat.COMMANDS, *reach.COMMANDS, *lookup.COMMANDS, *telnet.COMMANDS)
