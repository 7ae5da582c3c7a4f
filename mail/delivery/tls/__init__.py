"""What protects mail on its way out: DANE, MTA-STS, and the reports about both."""
