"""The quarantine channel: the XCPQ extension of SMTP."""
