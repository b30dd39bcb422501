"""Gmail's API: the credentials of a mailbox, refreshed without a browser, and the client for it."""
