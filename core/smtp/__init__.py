"""SMTP over sockets: the listener, its connections, and the client's transport."""
