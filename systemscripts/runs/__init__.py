"""One run of a job: its row, its turn among others, its child process, its end."""
