"""Counts by destination that outlive the daemon."""
