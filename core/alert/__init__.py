"""Alerts to people by mail, past the queue; docs/alerts.md is the operator's side of it.

`Alerts` is the service of a daemon, `kind` the classes, `config` the sections, `record` what was sent and what was not,
`direct` the road that needs neither queue nor journal, `watch` the machine's own troubles. Raises nothing to senders.
"""
