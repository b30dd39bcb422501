"""Backups of whole databases: the dumps, the check of their contents, and the restore."""
