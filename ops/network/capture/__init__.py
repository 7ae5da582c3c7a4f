"""Packet capture: one at a time on a machine, by tcpdump with no right but to listen, into a ring of files."""
