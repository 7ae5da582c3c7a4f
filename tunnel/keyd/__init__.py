"""keyd: holds every key of the support organisation that opens something, and uses them for others on request.

`api` is what may be asked, `client` how to ask it; `keyring`, `grant` and `limit` are what is kept in DIR/keyd,
`server` answers. Only keyd reads that folder; the bastion and the commands go through its socket. docs/daemons/keyd.md.
"""
