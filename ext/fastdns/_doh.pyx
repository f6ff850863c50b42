"""DNS over HTTPS (RFC 8484) as far as it is the same in every version of HTTP."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t length)

cdef const char* PATH = "/dns-query"
cdef const char* MEDIA_TYPE = "application/dns-message"
cdef enum:
    PATH_LENGTH = 10
    MEDIA_TYPE_LENGTH = 23


cdef inline bint is_client_octet(uint8_t octet) noexcept nogil:
    return c'a' <= octet <= c'z' or c'A' <= octet <= c'Z' or c'0' <= octet <= c'9' or (
        octet == c'_' or octet == c'.' or octet == c'-'
    )


cdef inline int hex_digit(uint8_t octet) noexcept nogil:
    if c'0' <= octet <= c'9':
        return octet - c'0'
    if c'a' <= octet <= c'f':
        return octet - c'a' + 10
    if c'A' <= octet <= c'F':
        return octet - c'A' + 10
    return -1


cdef inline int sextet(uint8_t octet) noexcept nogil:
    """Return the value of a digit of base64, of either alphabet (RFC 4648 sections 4 and 5), or -1."""
    if c'A' <= octet <= c'Z':
        return octet - c'A'
    if c'a' <= octet <= c'z':
        return octet - c'a' + 26
    if c'0' <= octet <= c'9':
        return octet - c'0' + 52
    if octet == c'-' or octet == c'+':
        return 62
    if octet == c'_' or octet == c'/':
        return 63
    return -1


cdef ssize_t decode(const uint8_t* at, const uint8_t* end, uint8_t* out) noexcept nogil:
    """Decode base64 with or without its padding; -1: it is something else. Each %XX counts as its octet."""
    cdef uint32_t held = 0
    cdef int bits = 0
    cdef int value
    cdef bint has_ended = False
    cdef ssize_t length = 0
    cdef uint8_t octet
    while at < end:
        octet = at[0]
        at += 1
        if octet == c'%':
            if end - at < 2 or hex_digit(at[0]) < 0 or hex_digit(at[1]) < 0:
                return -1
            octet = <uint8_t>(hex_digit(at[0]) << 4 | hex_digit(at[1]))
            at += 2
        if octet == c'=':
            has_ended = True
            continue
        value = sextet(octet)
        if value < 0 or has_ended:
            return -1
        held = held << 6 | <uint32_t>value
        bits += 6
        if bits >= 8:
            bits -= 8
            out[length] = <uint8_t>(held >> bits)
            length += 1
    return length if bits < 6 else -1     # a single digit is not even one octet


cdef void read_target(const uint8_t* path, size_t length, uint8_t* message, Target* out) noexcept nogil:
    cdef const uint8_t* end = path + length
    cdef const uint8_t* at = <const uint8_t*>memchr(path, c'?', length)
    cdef const uint8_t* path_end = end if at == NULL else at
    cdef const uint8_t* next_one
    cdef size_t client = 0
    cdef ssize_t decoded
    out.kind = TARGET_OTHER
    out.length = 0
    out.client[0] = 0
    if path_end - path < PATH_LENGTH or memcmp(path, PATH, PATH_LENGTH) != 0:
        return
    path += PATH_LENGTH
    if path < path_end:
        if path[0] != c'/' or path_end - path - 1 > CLIENT_MAX:
            return
        path += 1
        while path < path_end:
            if not is_client_octet(path[0]):
                out.client[0] = 0
                return
            out.client[client] = <char>path[0]
            client += 1
            path += 1
        out.client[client] = 0
    out.kind = TARGET_EMPTY
    while at != NULL:
        at += 1                 # behind the ? or the &
        next_one = <const uint8_t*>memchr(at, c'&', <size_t>(end - at))
        if end - at >= 4 and memcmp(at, b"dns=", 4) == 0:
            decoded = decode(at + 4, end if next_one == NULL else next_one, message)
            out.kind = TARGET_BAD if decoded < 0 else TARGET_MESSAGE
            out.length = 0 if decoded < 0 else <size_t>decoded
            return
        at = next_one


cdef bint is_dns_message(const uint8_t* content_type, size_t length) noexcept nogil:
    if length < MEDIA_TYPE_LENGTH:
        return False
    if strncasecmp(<const char*>content_type, MEDIA_TYPE, MEDIA_TYPE_LENGTH) != 0:
        return False
    return length == MEDIA_TYPE_LENGTH or content_type[MEDIA_TYPE_LENGTH] in b"; \t"


cdef size_t forwarded_tail(const uint8_t* value, size_t length) noexcept nogil:
    cdef size_t start
    if length <= FORWARDED_MAX:
        return 0
    # Each proxy appends what it saw: the last ones are of ours, and nobody may push them out by a long header.
    start = length - FORWARDED_MAX
    while start < length and value[start - 1] != c',':
        start += 1
    return start


cdef const char* reason(int status) noexcept nogil:
    if status == 400:
        return "This is not a DNS message: send one as ?dns=BASE64URL (GET) or as the body (POST). See RFC 8484.\n"
    if status == 404:
        return "DNS over HTTPS is at /dns-query here.\n"
    if status == 405:
        return "DNS over HTTPS needs GET or POST.\n"
    if status == 413:
        return "A DNS message has at most 65535 bytes.\n"
    if status == 415:
        return "The Content-Type of a DNS message is application/dns-message.\n"
    if status == 431:
        return "The headers of a request may have at most 16384 bytes.\n"
    if status == 403:
        return "This client may not ask here.\n"
    return "The query cannot be answered now.\n"


def target_of(bytes path not None):
    """Return (status, client, message) of a request target; message is None without dns=, status 0 if all is well."""
    cdef Target target
    cdef uint8_t* room = <uint8_t*>malloc(len(path) + 1)
    if room == NULL:
        raise MemoryError
    try:
        read_target(path, len(path), room, &target)
        if target.kind == TARGET_OTHER:
            return 404, "", None
        client = target.client[:].decode("ascii")
        if target.kind == TARGET_EMPTY:
            return 0, client, None
        return 400 if target.kind == TARGET_BAD else 0, client, room[:target.length]
    finally:
        free(room)


def is_message_type(bytes content_type not None):
    """Return True for application/dns-message, with or without parameters."""
    return is_dns_message(content_type, len(content_type))


def last_forwarded(bytes value not None):
    """Return those addresses of an X-Forwarded-For that count: the last ones."""
    return value[forwarded_tail(value, len(value)):]


def reason_of(int status):
    """Return the text that goes with an HTTP status."""
    return <bytes>reason(status)
