"""From a file of any kind to delimited text, which is what the import reads.

opening     packed or not, and of which file_type        workbooks  which sheet, or all of them

A CSV is examined where it lies. Everything else becomes a CSV first, in files without a name, so nothing of them is left
even if this process is killed.
"""
