"""Mail that goes out, by SMTP, and the way into a Gmail account."""
