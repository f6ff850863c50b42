"""DNS over HTTP/2: a server's session of nghttp2, bytes in and bytes out. Callbacks only collect."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._buffer cimport Buffer

cdef enum:
    STREAMS_AT_ONCE = 100       # of a connection
    HELD_BODIES = 256 * 1024        # octets of a connection's requests that are not whole; above, streams are refused
    HELD_RESPONSES = 256 * 1024     # octets that wait for a window; above, streams are reset
    PATIENCE = 100              # resets, PINGs, SETTINGS, PRIORITY, CONTINUATION and empty DATA frames at once …
    PATIENCE_PER_SECOND = 20    # … and in the long run; above, GOAWAY ENHANCE_YOUR_CALM

cdef struct Http2               # private: one connection

cdef struct Exchange:           # a request that is whole, or has a problem already
    int32_t id                  # of its stream
    uint16_t problem            # the HTTP status that it is to be answered with; 0: `message` is a DNS message
    const uint8_t* message      # lives until respond() or the next feed
    uint32_t length             # 12 to 65,535
    const char* client          # what follows /dns-query/ in the path, at most 63 of [A-Za-z0-9_.-]; "": nothing
    const char* forwarded       # the last X-Forwarded-For, of it at most the last 255 octets; "": none

cdef Http2* http2_new() noexcept nogil      # NULL: no memory; SETTINGS are queued
cdef void http2_free(Http2* h2) noexcept nogil
cdef bint http2_feed(Http2* h2, const uint8_t* octets, size_t length, uint64_t now_ns) noexcept nogil
# ^ False: close after what drain gives (GOAWAY is there)
cdef bint http2_next(Http2* h2, Exchange* out) noexcept nogil       # the next one that nobody has taken; False: none
cdef void http2_respond(
    Http2* h2, int32_t id, int status, const uint8_t* body, size_t length, int64_t max_age
) noexcept nogil
# ^ max_age -1: no Cache-Control. Not 200: body may be NULL, then a text of ours. An id that is gone: nothing
cdef int http2_drain(Http2* h2, Buffer* out) noexcept nogil
# ^ appends frames, up to the end of one response; 1: call it again, it may append nothing then; 0: nothing more now;
#   -1: no memory, close
cdef int http2_open(const Http2* h2) noexcept nogil             # streams that are not over
cdef bint http2_is_over(const Http2* h2) noexcept nogil            # after drain: nobody wants anything more: close
cdef void http2_go_away(Http2* h2, bint is_last) noexcept nogil
# ^ False: a notice, all streams are still welcome; True: those that have begun are the last ones
cdef size_t http2_unsent(const Http2* h2) noexcept nogil        # octets of responses that wait for a window
cdef uint64_t http2_partial_since(const Http2* h2) noexcept nogil
# ^ when the oldest request that is not whole yet began (now_ns of its feed); 0: none
