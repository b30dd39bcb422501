"""Rights to mailboxes that take no password: who gives them, how they are renewed, and how a server is told of them."""
