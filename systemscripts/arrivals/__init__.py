"""Files that come from outside, by mail or SFTP: what they are called here, and how each appears once, whole, and over no other."""
