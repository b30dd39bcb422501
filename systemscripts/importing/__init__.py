"""The stages of an import, one module each; generic_import puts them together.

config    the row of dba.timportconfig              configured_rules   the rows of dba.timportcolumn
origin    values for columns from outside the file
rules     a column's checks and value, in SQL       number_forms, date_forms   how its texts are written
files     which files wait, whole ones              patterns  regular expressions, with a time limit
source    what a text file is: encoding, delimiter  header    the header row, and the lines above it
metadata  label and date of the dataset             columns   headings to columns, and what the strategy allows
table     the target table's structure              load      the records, by COPY
guarded_file, careful   the two ways into COPY      staging   the way through rules
packed    compressed files                          archives  the files in a zip or tar
fixed_width, json_records, xml_records   other kinds, as CSV
rejects   lines left out                            refusals  errors that are the file's own fault
ledger    dba.timportfile and the dataset           filing    the archive, or the folder of refused files
"""

import systemscripts.driver  # noqa: F401 — before any of them imports psycopg2
