"""What should run when, what did not, and who is told."""
