"""Users of the SMTP listeners: who they are, how a log-in is judged, and what repeated failures lead to."""
