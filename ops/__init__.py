"""Operator commands, web UI and lab: clients of the control sockets."""
