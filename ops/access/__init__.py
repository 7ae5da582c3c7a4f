"""Logging in to the console and the web side: passwords, one-time codes, lock-outs, and the record of who was in."""
