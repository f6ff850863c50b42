"""What the configuration says of the cache and the path of a query needs to know."""

from libc.stdint cimport int64_t, uint32_t

cdef class CacheSettings:
    cdef readonly int64_t stale_wait_ms     # in which an upstream is hoped for before an answer is stale
    cdef readonly uint32_t stale_ttl        # seconds: the TTL of a stale answer
    cdef readonly bint prefetch             # what is asked for in the last tenth of its TTL is renewed
