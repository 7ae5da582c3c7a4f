"""Protocols as bytes in, events and bytes out: no input or output, no clock, standard library only."""
