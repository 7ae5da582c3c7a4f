"""Recordings of what was done for service, on the bastion and on the appliance.

One `Recorder` (`recorder`) for each daemon, a service. Each channel fills in a `Subject` (`subject`) and gets a
`Recording` (`recording`), which it feeds with what passes; see docs/recording.md for the files that come of it.
"""
