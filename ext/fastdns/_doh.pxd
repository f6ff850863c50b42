"""DNS over HTTPS (RFC 8484) as far as it is the same in every version of HTTP: paths, media types, error texts."""

from libc.stdint cimport uint8_t

cdef enum:
    MESSAGE_MIN = 12            # a DNS header: nobody can answer less
    MESSAGE_MAX = 65535
    CLIENT_MAX = 63
    FORWARDED_MAX = 255
    HEADERS_MAX = 16384         # of a request, with 32 for each as in RFC 9113 section 6.5.2

cdef enum TargetKind:
    TARGET_OTHER                # not below /dns-query
    TARGET_EMPTY                # without dns=
    TARGET_MESSAGE
    TARGET_BAD                  # dns= is not base64url

cdef struct Target:             # :path, or the target of a request line
    TargetKind kind
    size_t length               # of the message
    char client[CLIENT_MAX + 1]     # what follows /dns-query/

cdef void read_target(const uint8_t* path, size_t length, uint8_t* message, Target* out) noexcept nogil
# ^ the message of dns= is decoded into `message`, which has three quarters of `length` at least
cdef bint is_dns_message(const uint8_t* content_type, size_t length) noexcept nogil
cdef size_t forwarded_tail(const uint8_t* value, size_t length) noexcept nogil
# ^ where those addresses of an X-Forwarded-For begin that fit into FORWARDED_MAX: the nearest ones
cdef const char* reason(int status) noexcept nogil      # the text of an answer that is not 200
