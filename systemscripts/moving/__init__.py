"""The move of an installation's database to another PostgreSQL server, and the way back."""
