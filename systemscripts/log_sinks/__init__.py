"""Where log records go besides the terminal: their rows in dba.tlogentry, and the files that wait for the database."""
