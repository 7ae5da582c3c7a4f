"""What the index gives back to memory: whose mail, how much, and in which order."""
