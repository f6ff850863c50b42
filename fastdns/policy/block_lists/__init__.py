"""Block lists: reading them, and the file that they are compiled into."""
