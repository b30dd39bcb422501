"""Read spreadsheets and files with such a name, one module for each kind, in a child process with limits.

`systemscripts.xls_to_csv` is the way in; nothing else imports this package.
"""
