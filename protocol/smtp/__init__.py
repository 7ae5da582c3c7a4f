"""SMTP: the server and client machines."""
