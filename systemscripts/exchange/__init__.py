"""Files taken from SFTP folders, and the receipts put there."""
