"""The readers of the cache on disk: entries found, shown, exported, beside whoever writes."""
