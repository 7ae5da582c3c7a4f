"""The key daemon: holds the support organisation's keys and signs with them for the bastion."""
