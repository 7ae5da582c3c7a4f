"""What both machines remember of transfers so that each happens exactly once."""
