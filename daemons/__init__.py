"""One composition root per daemon, and the executable."""
