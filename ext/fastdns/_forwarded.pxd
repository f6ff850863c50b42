"""The client that a proxy names in X-Forwarded-For."""

from fastdns._clients cimport Access
from fastdns._query cimport Asker

cdef bint forwarded_client(const char* addresses, Access proxies, Asker* out) noexcept nogil
# ^ the last address that is no proxy's, or the first one if all are; False: it cannot be read, and nothing has changed
