"""What is made of the executable's own parsers and the command registry: completion for shells, manual pages."""
