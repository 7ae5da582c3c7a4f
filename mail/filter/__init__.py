"""Message filters: the language, its compiler and its evaluation."""
