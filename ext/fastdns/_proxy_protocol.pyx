"""PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt, section 2.2): a header before all that a client says."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memset

from fastdns._wire cimport load16

cdef enum:
    SIGNATURE_LENGTH = 12
    FIXED_LENGTH = 16           # signature, version and command, family and protocol, length of the rest
    VERSION = 2
    LOCAL = 0                   # the proxy's own connection, a check of its
    PROXY = 1
    FAMILY_V4 = 1
    FAMILY_V6 = 2
    FAMILIES = 4                # 0: it does not say; 3: Unix
    PROTOCOLS = 3               # 0: it does not say; of a stream, of datagrams
    V4_LENGTH = 12              # two addresses and two ports
    V6_LENGTH = 36

cdef const uint8_t* SIGNATURE = <const uint8_t*>b"\r\n\r\n\0\r\nQUIT\n"


cdef int proxy_header(const uint8_t* octets, size_t length, Asker* out) noexcept nogil:
    cdef size_t rest
    cdef int family
    # A client that sends no such header is refused as soon as that is seen.
    if memcmp(octets, SIGNATURE, min(length, <size_t>SIGNATURE_LENGTH)) != 0:
        return PROXY_WRONG
    if length < FIXED_LENGTH:
        return PROXY_NOT_WHOLE
    family = octets[13] >> 4
    rest = load16(octets + 14)
    if octets[12] >> 4 != VERSION or octets[12] & 15 > PROXY or rest > PROXY_HEADER_MAX - FIXED_LENGTH:
        return PROXY_WRONG
    if octets[12] & 15 == PROXY:
        if family >= FAMILIES or octets[13] & 15 >= PROTOCOLS:
            return PROXY_WRONG
        if (family == FAMILY_V4 and rest < V4_LENGTH) or (family == FAMILY_V6 and rest < V6_LENGTH):
            return PROXY_WRONG
    if length < FIXED_LENGTH + rest:
        return PROXY_NOT_WHOLE
    if octets[12] & 15 == PROXY and octets[13] & 15 != 0:
        take_client(octets + FIXED_LENGTH, family, out)
    return <int>(FIXED_LENGTH + rest)


cdef inline void take_client(const uint8_t* addresses, int family, Asker* out) noexcept nogil:
    """Take the client's address and port: the source, before the destination. What follows them is not looked at."""
    if family == FAMILY_V4:
        memset(out.address, 0, 10)
        memset(out.address + 10, 0xff, 2)
        memcpy(out.address + 12, addresses, 4)
        out.port = load16(addresses + 8)
    elif family == FAMILY_V6:
        memcpy(out.address, addresses, 16)
        out.port = load16(addresses + 32)
    else:
        return
    out.link = 0


def read_proxy_header(bytes octets not None):
    """Return the length of the header at the beginning of these bytes, and the client's address and port.

    The length is 0 if the header is not whole. The address has 16 bytes; None: the proxy does not say whose it is.
    ValueError: these bytes do not begin with a header.
    """
    cdef Asker asker
    memset(&asker, 0, sizeof(Asker))
    cdef int used = proxy_header(<const uint8_t*>PyBytes_AS_STRING(octets), len(octets), &asker)
    if used == PROXY_WRONG:
        raise ValueError("these bytes do not begin with a header of the PROXY protocol, version 2")
    address = (<const char*>asker.address)[:16]
    return used, None if address == bytes(16) else address, asker.port
