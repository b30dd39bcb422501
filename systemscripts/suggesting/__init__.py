"""Propose the configuration of an import from files that somebody sent: layout, names of files, columns.

Every finding says how sure it is and why. What cannot be told from the files is a question for a person.
"""
