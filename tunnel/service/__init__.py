"""The service account on an appliance: where an engineer's own SSH connection ends."""
