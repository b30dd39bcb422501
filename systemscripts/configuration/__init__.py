"""The configuration as a text: what an operator writes into tables, exported, compared and applied as one YAML file."""
