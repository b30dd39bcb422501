"""Backups of whole databases: what is dumped, what a dump must hold, and how it is restored."""
