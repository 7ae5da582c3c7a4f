"""The network as an operator sees it: netstat, ping, traceroute, nslookup, dig, telnet, diagnostic, packetcapture."""

from ops.cli.commands.network import capture, lookup, netstat, reach, telnet

COMMANDS = (*capture.COMMANDS, *netstat.COMMANDS, *reach.COMMANDS, *lookup.COMMANDS, *telnet.COMMANDS)
