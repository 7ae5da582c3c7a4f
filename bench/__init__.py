"""Benchmarks against peers, on loopback, that anyone can run again: `make bench`."""
