"""Folders in clouds: rclone as the engine, and the checks that make its answers believable."""
