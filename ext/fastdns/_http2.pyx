"""DNS over HTTP/2 (RFC 8484, RFC 9113): a server's session of nghttp2, with limits that hold for every client."""

from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, strlen

from fastdns._buffer cimport buffer_add, buffer_free
from fastdns._doh cimport (
    FORWARDED_MAX, HEADERS_MAX, MESSAGE_MAX, MESSAGE_MIN, TARGET_MESSAGE, TARGET_OTHER,
    Target, forwarded_tail, is_dns_message, read_target, reason,
)
from fastdns._nghttp2 cimport *

cdef enum:
    STAGES = 6
    HEADERS_END = 4 * HEADERS_MAX   # of a request, which end the connection
    ROOM = 512                  # octets of a message that need no memory of their own
    TOKEN_NS = 1000000000 // PATIENCE_PER_SECOND

cdef enum Stage:                # of a request; each request is in the list of its stage
    PARTIAL                     # more is to come
    READY                       # for http2_next
    TAKEN                       # until http2_respond
    GONE                        # taken, and then its stream has ended
    ANSWERED                    # until http2_drain
    SENDING                     # nghttp2 has the response

cdef enum Method:
    NO_METHOD, GET, POST, HEAD, OTHER

cdef struct Request:
    Request* next
    Request* previous
    Stage stage
    int32_t id
    uint16_t problem            # 0: none so far
    uint8_t method
    bint is_judged              # the headers are whole
    bint has_ended              # the client sends nothing more
    bint has_media_type
    uint32_t header_octets
    uint32_t dropped            # octets of a body that does not count
    int64_t stated              # Content-Length
    uint64_t begun_ns
    uint8_t* octets             # the message, then the body of the response: `room`, or memory of its own
    uint32_t capacity
    uint32_t length
    uint32_t sent               # of the response
    int status
    char* forwarded             # NULL: none
    Target target
    int64_t max_age             # -1: no Cache-Control
    char length_text[20]
    char max_age_text[28]
    uint8_t room[ROOM]

cdef struct Line:
    Request* first
    Request* last

cdef struct Http2:
    nghttp2_session* session
    Line lines[STAGES]
    Request* headers_of         # the request whose header block is being read; NULL: one that does not count
    int open
    size_t held                 # octets of bodies, with memory of their own
    size_t unsent
    uint64_t now_ns
    uint64_t tokens_ns          # patience: a bucket, in the time that filling it takes
    uint64_t filled_ns
    bint has_ended              # GOAWAY with an error is queued
    bint is_whole               # since drain began, a response was

cdef nghttp2_session_callbacks* CALLBACKS = NULL
cdef nghttp2_option* OPTIONS = NULL


# --- requests and their lists -----------------------------------------------------------------------------

cdef void leave(Http2* h2, Request* request) noexcept nogil:
    cdef Line* line = &h2.lines[<int>request.stage]
    if request.previous == NULL:
        line.first = request.next
    else:
        request.previous.next = request.next
    if request.next == NULL:
        line.last = request.previous
    else:
        request.next.previous = request.previous


cdef void enter(Http2* h2, Request* request, Stage stage) noexcept nogil:
    cdef Line* line = &h2.lines[<int>stage]
    request.stage = stage
    request.next = NULL
    request.previous = line.last
    if line.last == NULL:
        line.first = request
    else:
        line.last.next = request
    line.last = request


cdef inline void move_to(Http2* h2, Request* request, Stage stage) noexcept nogil:
    leave(h2, request)
    enter(h2, request, stage)


cdef void give_room_back(Http2* h2, Request* request) noexcept nogil:
    if request.octets != request.room:
        if request.stage < ANSWERED:
            h2.held -= request.capacity
        free(request.octets)
        request.octets = request.room
        request.capacity = ROOM


cdef void forget(Http2* h2, Request* request) noexcept nogil:
    if request.stage >= ANSWERED:
        h2.unsent -= request.length - request.sent
    give_room_back(h2, request)
    if request.stage != GONE:
        h2.open -= 1
    leave(h2, request)
    if h2.headers_of == request:
        h2.headers_of = NULL
    free(request.forwarded)
    free(request)


cdef inline void forget_gone(Http2* h2) noexcept nogil:
    while h2.lines[<int>GONE].first != NULL:
        forget(h2, h2.lines[<int>GONE].first)


cdef bint make_room(Http2* h2, Request* request, size_t length) noexcept nogil:
    """Make room for so many octets of a request. False: this connection holds too much, or there is no memory."""
    cdef bint is_first = request.octets == request.room
    cdef size_t left = HELD_BODIES - h2.held + (0 if is_first else request.capacity)
    cdef size_t capacity
    cdef uint8_t* octets
    if length <= request.capacity:
        return True
    if length > left:
        return False
    capacity = max(length, min(<size_t>request.capacity * 2, min(<size_t>MESSAGE_MAX, left)))
    octets = <uint8_t*>realloc(NULL if is_first else request.octets, capacity)
    if octets == NULL:
        return False
    if is_first:
        memcpy(octets, request.room, request.length)
    h2.held = HELD_BODIES - left + capacity
    request.octets = octets
    request.capacity = <uint32_t>capacity
    return True


cdef inline Request* request_of(Http2* h2, int32_t id) noexcept nogil:
    return <Request*>nghttp2_session_get_stream_user_data(h2.session, id)


cdef bint use_patience(Http2* h2) noexcept nogil:
    """Count a frame that costs us more than the client. False: it has sent too many."""
    h2.tokens_ns = min(<uint64_t>PATIENCE * TOKEN_NS, h2.tokens_ns + (h2.now_ns - h2.filled_ns))
    h2.filled_ns = h2.now_ns
    if h2.tokens_ns < TOKEN_NS:
        return False
    h2.tokens_ns -= TOKEN_NS
    return True


cdef void end_with(Http2* h2, uint32_t error) noexcept nogil:
    if not h2.has_ended:
        h2.has_ended = True
        nghttp2_session_terminate_session(h2.session, error)


cdef void refuse(Http2* h2, Request* request, uint32_t error) noexcept nogil:
    """Reset a stream; its request is kept until nghttp2 says that it is closed."""
    give_room_back(h2, request)
    if request.stage < TAKEN:
        move_to(h2, request, TAKEN)
    request.problem = 503       # what still comes of it is dropped
    nghttp2_submit_rst_stream(h2.session, NGHTTP2_FLAG_NONE, request.id, error)


cdef void judge(Request* request) noexcept nogil:
    """Find out what is wrong with a request whose headers are whole."""
    request.is_judged = True
    if request.problem:
        pass
    elif request.target.kind == TARGET_OTHER:
        request.problem = 404
    elif request.method != GET and request.method != POST:
        request.problem = 405
    elif request.method == GET and request.target.kind != TARGET_MESSAGE:
        request.problem = 400
    elif request.method == POST and request.stated > MESSAGE_MAX:
        request.problem = 413
    elif request.method == POST and not request.has_media_type:
        request.problem = 415
    if request.problem == 0 and request.method == GET:
        request.length = <uint32_t>request.target.length
    else:
        request.length = 0


cdef void make_ready(Http2* h2, Request* request) noexcept nogil:
    if request.stage != PARTIAL:
        return
    if request.problem == 0 and not MESSAGE_MIN <= request.length <= MESSAGE_MAX:
        request.problem = 413 if request.length > MESSAGE_MAX else 400
    move_to(h2, request, READY)


# --- callbacks of nghttp2 ---------------------------------------------------------------------------------

cdef int on_begin_frame(nghttp2_session* session, const nghttp2_frame_hd* hd, void* user_data) noexcept nogil:
    # WINDOW_UPDATE is as cheap for us as for the client. nghttp2 skips what it does not know.
    if hd.type == NGHTTP2_DATA or hd.type == NGHTTP2_HEADERS or hd.type == NGHTTP2_WINDOW_UPDATE:
        return 0
    if hd.type == NGHTTP2_GOAWAY:
        return 0
    return 0 if use_patience(<Http2*>user_data) else NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) noexcept nogil:
    cdef Http2* h2 = <Http2*>user_data
    cdef Request* request
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        h2.headers_of = request_of(h2, frame.hd.stream_id)      # trailers
        return 0
    request = <Request*>malloc(sizeof(Request))
    if request == NULL:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    request.id = frame.hd.stream_id
    request.problem = 0
    request.method = NO_METHOD
    request.is_judged = request.has_ended = request.has_media_type = False
    request.header_octets = request.dropped = 0
    request.stated = -1
    request.begun_ns = h2.now_ns
    request.octets = request.room
    request.capacity = ROOM
    request.length = request.sent = 0
    request.forwarded = NULL
    request.target.kind = TARGET_OTHER
    request.target.length = 0
    request.target.client[0] = 0
    if nghttp2_session_set_stream_user_data(session, request.id, request) != 0:
        free(request)
        return NGHTTP2_ERR_CALLBACK_FAILURE
    enter(h2, request, PARTIAL)
    h2.open += 1
    h2.headers_of = request
    return 0


cdef int on_header(
    nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
    const uint8_t* value, size_t length, uint8_t flags, void* user_data
) noexcept nogil:
    cdef Http2* h2 = <Http2*>user_data
    cdef Request* request = h2.headers_of
    cdef size_t i
    if request == NULL:
        return 0
    request.header_octets += <uint32_t>(name_length + length + 32)
    if request.header_octets > HEADERS_MAX:
        request.problem = 431
        # A single octet can stand for 4 KiB (RFC 7541), and nghttp2 looks at all of them before we do.
        return 0 if request.header_octets <= HEADERS_END else NGHTTP2_ERR_CALLBACK_FAILURE
    if request.is_judged:
        return 0                # a trailer
    if name_length == 5 and memcmp(name, b":path", 5) == 0:
        if not make_room(h2, request, length):
            request.problem = 503
            return 0
        read_target(value, length, request.octets, &request.target)
    elif name_length == 7 and memcmp(name, b":method", 7) == 0:
        if length == 3 and memcmp(value, b"GET", 3) == 0:
            request.method = GET
        elif length == 4 and memcmp(value, b"POST", 4) == 0:
            request.method = POST
        elif length == 4 and memcmp(value, b"HEAD", 4) == 0:
            request.method = HEAD
        else:
            request.method = OTHER
    elif name_length == 12 and memcmp(name, b"content-type", 12) == 0:
        request.has_media_type = is_dns_message(value, length)
    elif name_length == 14 and memcmp(name, b"content-length", 14) == 0:
        request.stated = 0      # nghttp2 has made sure that it is a number
        for i in range(length):
            request.stated = min(request.stated * 10 + value[i] - c'0', <int64_t>1 << 32)
    elif name_length == 15 and memcmp(name, b"x-forwarded-for", 15) == 0:
        i = forwarded_tail(value, length)
        if request.forwarded == NULL:
            request.forwarded = <char*>malloc(FORWARDED_MAX + 1)
        if request.forwarded == NULL:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        memcpy(request.forwarded, value + i, length - i)
        request.forwarded[length - i] = 0
    return 0


cdef int on_data_chunk(
    nghttp2_session* session, uint8_t flags, int32_t id, const uint8_t* octets, size_t length, void* user_data
) noexcept nogil:
    cdef Http2* h2 = <Http2*>user_data
    cdef Request* request = request_of(h2, id)
    cdef size_t whole
    if request == NULL or request.stage != PARTIAL:
        return 0
    # What is too long is answered before it ends (RFC 9113 section 8.1).
    if request.problem or request.method == GET:
        request.dropped += <uint32_t>length
        if request.dropped > MESSAGE_MAX:
            make_ready(h2, request)
        return 0
    whole = request.length + length
    if whole > MESSAGE_MAX:
        request.problem = 413
        give_room_back(h2, request)
        make_ready(h2, request)
    elif make_room(h2, request, whole):
        memcpy(request.octets + request.length, octets, length)
        request.length = <uint32_t>whole
    else:
        refuse(h2, request, NGHTTP2_REFUSED_STREAM)
    return 0


cdef int on_frame_recv(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) noexcept nogil:
    cdef Http2* h2 = <Http2*>user_data
    cdef Request* request
    if frame.hd.type == NGHTTP2_DATA:
        if frame.hd.length <= frame.data.padlen and not frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            if not use_patience(h2):
                return NGHTTP2_ERR_CALLBACK_FAILURE
    elif frame.hd.type != NGHTTP2_HEADERS:
        return 0
    request = request_of(h2, frame.hd.stream_id)
    if request == NULL:
        return 0
    if not request.is_judged:
        judge(request)
        if request.problem == 413:
            make_ready(h2, request)     # by its Content-Length: nobody needs to send so much
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        request.has_ended = True
        make_ready(h2, request)
    return 0


cdef int on_frame_send(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) noexcept nogil:
    cdef Http2* h2 = <Http2*>user_data
    cdef Request* request
    if frame.hd.type == NGHTTP2_RST_STREAM:
        # Resets of ours count like the client's, which may bring them about (CVE-2025-8671).
        if not use_patience(h2):
            end_with(h2, NGHTTP2_ENHANCE_YOUR_CALM)
        return 0
    if frame.hd.type != NGHTTP2_DATA and frame.hd.type != NGHTTP2_HEADERS:
        return 0
    if not frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
        return 0
    h2.is_whole = True
    request = request_of(h2, frame.hd.stream_id)
    if request != NULL and not request.has_ended:
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, request.id, NGHTTP2_NO_ERROR)
    return 0


cdef int on_stream_close(nghttp2_session* session, int32_t id, uint32_t error, void* user_data) noexcept nogil:
    cdef Http2* h2 = <Http2*>user_data
    cdef Request* request = request_of(h2, id)
    if request == NULL:
        return 0
    if request.stage == TAKEN:      # the caller reads it: `drain` may be called before that is over
        h2.open -= 1
        move_to(h2, request, GONE)
        if h2.headers_of == request:
            h2.headers_of = NULL
    else:
        forget(h2, request)
    return 0


cdef ssize_t read_response(
    nghttp2_session* session, int32_t id, uint8_t* room, size_t length, uint32_t* flags,
    nghttp2_data_source* source, void* user_data
) noexcept nogil:
    cdef Request* request = <Request*>source.ptr
    cdef size_t wanted = min(length, <size_t>(request.length - request.sent))
    memcpy(room, request.octets + request.sent, wanted)
    request.sent += <uint32_t>wanted
    (<Http2*>user_data).unsent -= wanted
    if request.sent == request.length:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
    return <ssize_t>wanted


# --- sessions ---------------------------------------------------------------------------------------------

cdef Http2* http2_new() noexcept nogil:
    cdef nghttp2_settings_entry settings[3]
    cdef Http2* h2 = <Http2*>calloc(1, sizeof(Http2))
    if h2 == NULL:
        return NULL
    h2.tokens_ns = <uint64_t>PATIENCE * TOKEN_NS
    if nghttp2_session_server_new2(&h2.session, CALLBACKS, h2, OPTIONS) != 0:
        free(h2)
        return NULL
    settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
    settings[0].value = STREAMS_AT_ONCE
    settings[1].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
    settings[1].value = HEADERS_MAX
    # Without its tree of priorities, which clients can grow (RFC 9218 section 2.1).
    settings[2].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
    settings[2].value = 1
    if nghttp2_submit_settings(h2.session, NGHTTP2_FLAG_NONE, settings, 3) != 0:
        http2_free(h2)
        return NULL
    return h2


cdef void http2_free(Http2* h2) noexcept nogil:
    cdef int stage
    if h2 == NULL:
        return
    for stage in range(STAGES):
        while h2.lines[stage].first != NULL:
            forget(h2, h2.lines[stage].first)
    nghttp2_session_del(h2.session)
    free(h2)


cdef bint http2_feed(Http2* h2, const uint8_t* octets, size_t length, uint64_t now_ns) noexcept nogil:
    cdef ssize_t used
    forget_gone(h2)
    if h2.has_ended:
        return False
    if h2.now_ns == 0:
        h2.filled_ns = now_ns
    h2.now_ns = max(h2.now_ns, now_ns)
    used = nghttp2_session_mem_recv(h2.session, octets, length)
    if used < 0:                # a limit of ours or of nghttp2; other violations it ends itself
        end_with(h2, NGHTTP2_PROTOCOL_ERROR if used == NGHTTP2_ERR_BAD_CLIENT_MAGIC else NGHTTP2_ENHANCE_YOUR_CALM)
    return not h2.has_ended


cdef bint http2_next(Http2* h2, Exchange* out) noexcept nogil:
    cdef Request* request = h2.lines[<int>READY].first
    if request == NULL or h2.has_ended:
        return False
    move_to(h2, request, TAKEN)
    out.id = request.id
    out.problem = request.problem
    out.message = request.octets
    out.length = request.length
    out.client = request.target.client
    out.forwarded = request.forwarded
    if request.forwarded == NULL:
        out.forwarded = b""
    return True


cdef void http2_respond(
    Http2* h2, int32_t id, int status, const uint8_t* body, size_t length, int64_t max_age
) noexcept nogil:
    cdef Request* request = request_of(h2, id)
    cdef uint8_t* octets
    if request == NULL or request.stage != TAKEN:
        return
    if status != 200 and body == NULL:
        body = <const uint8_t*>reason(status)
        length = strlen(<const char*>body)
    if h2.unsent + length > HELD_RESPONSES:
        refuse(h2, request, NGHTTP2_ENHANCE_YOUR_CALM)     # it reads nothing of what it asks for
        return
    if length > ROOM:
        octets = <uint8_t*>malloc(length)
        if octets == NULL:
            refuse(h2, request, NGHTTP2_INTERNAL_ERROR)
            return
        memcpy(octets, body, length)
        give_room_back(h2, request)
        request.octets = octets
        request.capacity = <uint32_t>length
    else:
        memmove(request.room, body, length)     # of the message itself, perhaps
        give_room_back(h2, request)
    request.status = status
    request.length = <uint32_t>length
    request.sent = 0
    request.max_age = max_age
    h2.unsent += length
    move_to(h2, request, ANSWERED)


cdef inline void put_header(
    nghttp2_nv* header, const char* name, size_t name_length, const char* value, size_t length, uint8_t flags
) noexcept nogil:
    header.name = <uint8_t*>name
    header.namelen = name_length
    header.value = <uint8_t*>value
    header.valuelen = length
    header.flags = flags | NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE


cdef int submit(Http2* h2, Request* request) noexcept nogil:
    cdef nghttp2_nv headers[5]
    cdef nghttp2_data_provider provider
    cdef char status[20]
    cdef size_t count = 3
    cdef size_t digits
    cdef bint has_body = request.method != HEAD and request.length > 0
    move_to(h2, request, SENDING)
    digits = write_number(request.length, request.length_text)
    if request.status == 200:
        put_header(&headers[0], b":status", 7, b"200", 3, 0)
        put_header(&headers[1], b"content-type", 12, b"application/dns-message", 23, 0)
    else:
        put_header(&headers[0], b":status", 7, status, write_number(<uint64_t>request.status, status), 0)
        headers[0].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
        put_header(&headers[1], b"content-type", 12, b"text/plain; charset=utf-8", 25, 0)
    put_header(&headers[2], b"content-length", 14, request.length_text, digits, 0)
    if request.max_age >= 0:
        memcpy(request.max_age_text, b"max-age=", 8)
        digits = write_number(<uint64_t>request.max_age, request.max_age_text + 8)
        # Its value differs from answer to answer: none is worth a place in the client's table.
        put_header(
            &headers[3], b"cache-control", 13, request.max_age_text, 8 + digits, NGHTTP2_NV_FLAG_NO_INDEX
        )
        count = 4
    elif request.status == 405:
        put_header(&headers[3], b"allow", 5, b"GET, POST", 9, 0)
        count = 4
    if not has_body:
        h2.unsent -= request.length
        request.sent = request.length
        return nghttp2_submit_response(h2.session, request.id, headers, count, NULL)
    provider.source.ptr = request
    provider.read_callback = read_response
    return nghttp2_submit_response(h2.session, request.id, headers, count, &provider)


cdef size_t write_number(uint64_t number, char* out) noexcept nogil:
    cdef char digits[20]
    cdef size_t length = 0
    cdef size_t i
    while True:
        digits[length] = <char>(c'0' + number % 10)
        length += 1
        number //= 10
        if number == 0:
            break
    for i in range(length):
        out[i] = digits[length - 1 - i]
    return length


cdef int http2_drain(Http2* h2, Buffer* out) noexcept nogil:
    cdef const uint8_t* octets
    cdef ssize_t length
    h2.is_whole = False
    while True:
        length = nghttp2_session_mem_send(h2.session, &octets)
        if length < 0:
            return -1
        if length > 0:
            if not buffer_add(out, octets, <size_t>length):
                return -1
            if h2.is_whole:
                return h2.lines[<int>ANSWERED].first != NULL or nghttp2_session_want_write(h2.session) != 0
        elif h2.lines[<int>ANSWERED].first == NULL:
            return 0
        # One by one: nghttp2 would send the headers of all that it has before the first body.
        elif submit(h2, h2.lines[<int>ANSWERED].first) == NGHTTP2_ERR_NOMEM:
            return -1


cdef int http2_open(const Http2* h2) noexcept nogil:
    return h2.open


cdef bint http2_is_over(const Http2* h2) noexcept nogil:
    return h2.lines[<int>ANSWERED].first == NULL and not (
        nghttp2_session_want_read(h2.session) or nghttp2_session_want_write(h2.session)
    )


cdef void http2_go_away(Http2* h2, bint is_last) noexcept nogil:
    if h2.has_ended:
        return
    if not is_last:
        nghttp2_submit_shutdown_notice(h2.session)
        return
    nghttp2_submit_goaway(
        h2.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2.session), NGHTTP2_NO_ERROR, NULL, 0
    )


cdef size_t http2_unsent(const Http2* h2) noexcept nogil:
    # After GOAWAY with an error, nghttp2 sends nothing more.
    return 0 if h2.has_ended else h2.unsent


cdef uint64_t http2_partial_since(const Http2* h2) noexcept nogil:
    return 0 if h2.lines[<int>PARTIAL].first == NULL else h2.lines[<int>PARTIAL].first.begun_ns


cdef int prepare() except -1:
    global CALLBACKS, OPTIONS
    if nghttp2_session_callbacks_new(&CALLBACKS) != 0 or nghttp2_option_new(&OPTIONS) != 0:
        raise MemoryError
    nghttp2_session_callbacks_set_on_begin_frame_callback(CALLBACKS, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(CALLBACKS, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(CALLBACKS, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(CALLBACKS, on_data_chunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(CALLBACKS, on_frame_recv)
    nghttp2_session_callbacks_set_on_frame_send_callback(CALLBACKS, on_frame_send)
    nghttp2_session_callbacks_set_on_stream_close_callback(CALLBACKS, on_stream_close)
    nghttp2_option_set_no_closed_streams(OPTIONS, 1)
    return 0


prepare()


cdef class Http2Server:
    """One connection, for Python."""

    cdef Http2* h2
    cdef Buffer out

    def __cinit__(self):
        self.h2 = http2_new()
        if self.h2 == NULL:
            raise MemoryError

    def __dealloc__(self):
        http2_free(self.h2)
        buffer_free(&self.out)

    def feed(self, octets, *, double now=1.0):
        """Read what came from the client; return False if the connection ends with the next `drain`."""
        cdef const uint8_t[::1] view = octets
        if len(view) == 0:
            return True
        return http2_feed(self.h2, &view[0], <size_t>len(view), <uint64_t>(now * 1e9))

    def next(self):
        """Return (id, problem, message, client, forwarded) of the next request, or None."""
        cdef Exchange exchange
        if not http2_next(self.h2, &exchange):
            return None
        return (
            exchange.id, exchange.problem, exchange.message[:exchange.length] if exchange.problem == 0 else b"",
            exchange.client.decode("ascii"), exchange.forwarded.decode("latin-1"),
        )

    def respond(self, int32_t id, bytes body=None, *, int status=200, int64_t max_age=-1):
        """Answer a request. Nothing happens if its stream has ended."""
        cdef const uint8_t* octets = NULL
        if body is not None:
            octets = <const uint8_t*>body
        http2_respond(self.h2, id, status, octets, 0 if body is None else <size_t>len(body), max_age)

    def drain(self):
        """Return (bytes up to the end of one response, whether there may be more)."""
        cdef int more = http2_drain(self.h2, &self.out)
        if more < 0:
            raise MemoryError
        sent = (<const uint8_t*>self.out.octets)[self.out.start:self.out.end] if self.out.end else b""
        self.out.start = self.out.end = 0
        return sent, bool(more)

    def go_away(self, *, bint is_last=False):
        """Tell the client to open no more streams; the last word ignores those that it opens."""
        http2_go_away(self.h2, is_last)

    @property
    def open(self):
        """Streams that are not over."""
        return http2_open(self.h2)

    @property
    def is_over(self):
        """True if neither side wants anything more; then the connection can be closed."""
        return http2_is_over(self.h2)

    @property
    def unsent(self):
        """Bytes of responses that wait for the client's window."""
        return http2_unsent(self.h2)

    @property
    def partial_since(self):
        """When the oldest unfinished request began, in seconds; 0: there is none."""
        return http2_partial_since(self.h2) / 1e9
