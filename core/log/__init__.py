"""Logs: their files, subscriptions, debug recordings, searching and pushing. `core/maillog.py` is the writers' side."""
