"""Network tools for operators, without their commands: what is run, what comes back, how it is read."""
