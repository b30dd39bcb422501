"""What the jobs share: settings, database, logging, the import, reports. Imports point downwards only (see CONTRIBUTING.md)."""
