"""The durable queue: import, index, schedule."""
