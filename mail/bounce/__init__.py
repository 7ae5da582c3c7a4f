"""Reports to senders: what was not delivered, waits, or was passed on; and the tags that their addresses carry."""
