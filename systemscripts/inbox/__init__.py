"""Mail that a row of dba.tinboxconfig wants: found, kept as it came, its attachments saved once, and then labelled."""
