"""Block lists as files: downloads, copies that survive a failed one, and when what is due."""
