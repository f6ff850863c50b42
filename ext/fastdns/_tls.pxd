"""libssl as the others see it: octets in, octets out; no socket and no waiting. TLS 1.2 and 1.3, as a server."""

from libc.stdint cimport uint8_t, uint32_t

from fastdns._buffer cimport Buffer
from fastdns._openssl cimport SSL, SSL_CTX
from fastdns._ticket_keys cimport TicketKeys

cdef enum TlsStatus:
    TLS_OK = 0
    TLS_WANTS_INPUT = -1        # all that came has been used
    TLS_CLOSED = -2             # by the peer (close_notify)
    TLS_FAILED = -3             # `failure` says why; the alert is in the output

cdef enum TlsProtocol:          # that ALPN (RFC 7301) has chosen
    ALPN_NONE
    ALPN_DOT                    # "dot", RFC 7858
    ALPN_HTTP2                  # "h2"
    ALPN_HTTP1                  # "http/1.1"

cdef struct TlsFailure:         # numbers only: `failure_text` makes a text of them
    int verify                  # X509_V_ERR_…; 0: it is not about a certificate
    int library                 # of ERR_get_error
    int reason
    uint8_t alert               # that the peer has sent; 0: none

cdef struct Tls:                # stays where it is from tls_accept to tls_free
    SSL* ssl                    # NULL: not in use
    const uint8_t* input        # the caller sets these before tls_handshake and tls_read, which move them on
    size_t input_length
    Buffer* output              # gets what is to be sent; the caller may set another one before each call
    TlsFailure failure
    bint is_open                # the handshake is over
    bint is_resumed
    # private
    int pending                 # the status behind the octets that tls_read returned last; TLS_OK: unknown
    uint32_t unasked            # alerts, and handshake messages after the handshake

cdef class ServerContext:       # an SSL_CTX; connections keep theirs when another one takes its place
    cdef SSL_CTX* ctx

    cdef void use_chain(self, bytes chain) except *     # private, like use_key
    cdef void use_key(self, bytes text) except *

cdef bint tls_accept(Tls* tls, ServerContext context) noexcept nogil    # False: no memory. Keeps input and output
cdef int tls_handshake(Tls* tls) noexcept nogil         # a TlsStatus; after TLS_OK call tls_read: input may be inside
cdef ssize_t tls_read(Tls* tls, uint8_t* plain, size_t room) noexcept nogil         # octets, or a TlsStatus below 0
# ^ call it until it returns a status; before that, input may still be unused
cdef bint tls_write(Tls* tls, const uint8_t* plain, size_t length) noexcept nogil   # False: failed
cdef void tls_shut(Tls* tls) noexcept nogil             # close_notify
cdef void tls_free(Tls* tls) noexcept nogil             # also one that is not in use
cdef const char* tls_server_name(const Tls* tls) noexcept nogil         # that the client asked for (SNI); NULL: none
cdef TlsProtocol tls_protocol(const Tls* tls) noexcept nogil
