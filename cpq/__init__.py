"""The central quarantine: store, states, transfer, release, pairing."""
