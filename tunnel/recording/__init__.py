"""Recordings of what was done for service, on the bastion and on the appliance.

One `Recorder` for each daemon, a service. Each channel fills in a `Subject` and gets a `Recording`, which it feeds with
what passes; see docs/recording.md for the files that come of it.
"""

from tunnel.recording.recorder import Recorder
from tunnel.recording.recording import Recording
from tunnel.recording.screen import Watch
from tunnel.recording.signature import Signer, sign_digest, signer_of
from tunnel.recording.subject import Policy, RecordingRefused, Subject, policy_for

__all__ = [
    "Policy",
    "Recorder",
    "Recording",
    "RecordingRefused",
    "Signer",
    "Subject",
    "Watch",
    "policy_for",
    "sign_digest",
    "signer_of",
]
