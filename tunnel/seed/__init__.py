"""Seed strings: what an administrator gives to support, and what both sides derive from it."""
