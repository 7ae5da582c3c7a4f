"""Delivery: routes, resolution, connections."""
