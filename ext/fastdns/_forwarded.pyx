"""The client that a proxy names in X-Forwarded-For: each proxy appends the address from which it was asked."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset, strlen

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    int AF_INET, AF_INET6

cdef enum:
    TEXT_MAX = 63       # of an address, with a port


cdef bint read_address(const char* text, size_t length, uint8_t* out) noexcept nogil:
    """Read 192.0.2.1, 192.0.2.1:80, 2001:db8::1 or [2001:db8::1]:80."""
    cdef char copy[TEXT_MAX + 1]
    cdef size_t i
    cdef int colons = 0
    while length and text[0] == b" ":
        text += 1
        length -= 1
    while length and text[length - 1] == b" ":
        length -= 1
    if length and text[0] == b"[":
        text += 1
        length -= 1
        for i in range(length):
            if text[i] == b"]":
                length = i
                break
    if length == 0 or length > TEXT_MAX:
        return False
    memcpy(copy, text, length)
    copy[length] = 0
    for i in range(length):
        colons += copy[i] == b":"
    if colons == 1:
        for i in range(length):
            if copy[i] == b":":
                copy[i] = 0
    if colons > 1:
        return inet_pton(AF_INET6, copy, out) == 1
    memset(out, 0, 10)
    out[10] = out[11] = 0xff
    return inet_pton(AF_INET, copy, out + 12) == 1


cdef bint forwarded_client(const char* addresses, Access proxies, Asker* out) noexcept nogil:
    cdef size_t end = strlen(addresses)
    cdef size_t start
    cdef Asker found = out[0]
    found.link = 0
    found.port = 0
    if end == 0:
        return False
    while end:
        start = end
        while start and addresses[start - 1] != b",":
            start -= 1
        if not read_address(addresses + start, end - start, found.address):
            return False
        if not proxies.admits(&found):
            break
        end = start - 1 if start else 0
    out[0] = found
    return True


def client_of_forwarded(bytes addresses not None, Access proxies not None):
    """Return the 16 octets of the client's address, None if it cannot be read."""
    cdef Asker asker
    memset(&asker, 0, sizeof(asker))
    if not forwarded_client(addresses, proxies, &asker):
        return None
    return (<const char*>asker.address)[:16]
