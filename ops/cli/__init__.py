"""The operator's console: registry, dialogue, commands, SSH server."""
