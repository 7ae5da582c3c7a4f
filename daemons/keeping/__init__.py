"""Backup and restore of one machine: what is kept, in which form, and how a copy becomes a machine again."""
