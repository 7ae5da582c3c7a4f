"""Addresses that this machine changes: domain maps, aliases, masquerading."""
