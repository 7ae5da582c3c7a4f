"""The edge of a gateway: what comes before the conversation, and how receiving is slowed when room runs out."""
