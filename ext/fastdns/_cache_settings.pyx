"""The settings that the cache and the path of a query need.

The cache carries them, and every stage that has the cache reads them there: no code in between passes a setting on.
"""


cdef class CacheSettings:
    """Settings under [cache] other than sizes and TTLs; the defaults are the configuration's."""

    def __cinit__(self, *, double stale_wait=1.8, uint32_t stale_ttl=30, bint prefetch=True):
        self.stale_wait_ms = <int64_t>(stale_wait * 1000)
        self.stale_ttl = stale_ttl
        self.prefetch = prefetch

    @classmethod
    def of(cls, cache):
        """Return those of a table of the configuration."""
        return cls(stale_wait=cache.stale_wait, stale_ttl=int(cache.stale_ttl), prefetch=cache.prefetch)
