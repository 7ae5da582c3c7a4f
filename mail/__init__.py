"""Receiving policy, pipeline, queue, delivery and bounces."""
