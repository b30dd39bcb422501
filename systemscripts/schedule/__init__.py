"""The schedule: what should run when, what did not run, and the mails about that."""
