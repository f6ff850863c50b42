"""Block lists: what they say is read, and compiled into one file that all workers map."""
