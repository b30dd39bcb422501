"""Files from outside, by mail or SFTP: their names here, and how each is saved once, whole, without overwriting."""
