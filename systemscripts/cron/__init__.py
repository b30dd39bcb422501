"""Debian's cron: its expressions, their times, and its file."""
