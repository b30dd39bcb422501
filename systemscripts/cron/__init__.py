"""Debian's cron: its expressions, the times that they mean, and its file."""
