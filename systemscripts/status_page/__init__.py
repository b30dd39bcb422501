"""The status page: one file that says what ran, what came, how fresh the data is, and what waits for a person."""
