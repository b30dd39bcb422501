"""The sinks of log records: rows in dba.tlogentry, and spool files that wait for the database."""
