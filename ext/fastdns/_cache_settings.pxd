"""The settings that the cache and the path of a query need."""

from libc.stdint cimport int64_t, uint32_t

cdef class CacheSettings:
    cdef readonly int64_t stale_wait_ms     # for which an upstream is waited for before a stale answer
    cdef readonly uint32_t stale_ttl        # seconds: the TTL of a stale answer
    cdef readonly bint prefetch             # refresh answers that are asked for in the last tenth of their TTL
