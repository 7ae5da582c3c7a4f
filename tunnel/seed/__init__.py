"""The seed string and what comes of it, as both ends of remote access compute it.

`code` makes and reads seeds, `derive` makes the keys of one activation, `password` the one-time passwords. Described,
with test vectors, in docs/protocol/seed.md.
"""
