"""`gatepost bastion …`: the commands of the support organisation; `commands.py` puts them together."""
