"""The stages of an import, in the order they happen.

config → files → source → columns → load → dataset → ledger → filing; generic_import puts them together.
"""
