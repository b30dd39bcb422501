"""How web pages and files are asked for: pace, deadlines, answers, downloads."""
