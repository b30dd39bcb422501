"""From a row of dba.treportmanager to the mail that its readers get.

`rows` reads the table, `queries` runs a report's queries as etl_report, the modules between turn
their results into tables and files, and `render` puts the mail together. Nothing here sends.
"""
