"""The readers of the cache on disk: they find, show and export entries beside its writer."""
