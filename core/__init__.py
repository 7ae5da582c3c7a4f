"""The event core and the adapters to the outside world."""
