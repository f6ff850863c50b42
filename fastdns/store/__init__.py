"""The writer of the cache on disk: the database, its lock, what is written, what makes room."""
