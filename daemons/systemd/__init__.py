"""`gatepost systemd`: the units of `systemd/` on this machine, made to fit its configuration; docs/systemd.md."""
