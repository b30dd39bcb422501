"""Requests for web pages and files: pace, deadlines, answers, downloads."""
