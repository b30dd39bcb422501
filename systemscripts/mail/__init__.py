"""Outgoing mail by SMTP, and the login at a Gmail account."""
