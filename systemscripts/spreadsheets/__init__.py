"""Reading spreadsheets and what calls itself one, a module for each kind; runs in a child process with limits.

`systemscripts.xls_to_csv` is the way in; nothing else imports this package.
"""
