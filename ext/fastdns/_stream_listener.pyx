"""The listeners over connections: who is let in, and the loop that serves them (RFC 7766, RFC 7858, RFC 8484).

All of it is called for one descriptor that the event loop watches; neither a connection nor a query makes a Python
object.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset, strlen
from posix.unistd cimport close as close_descriptor

from fastdns._buffer cimport buffer_free, buffer_length
from fastdns._clients cimport BY_SERVER_NAME, name_asker, read_asker
from fastdns._clock cimport read_clock_ns
from fastdns._counters cimport (
    HTTPS_CONNECTIONS, TCP_CONNECTIONS, TCP_REFUSED, TCP_REJECTED, TLS_CONNECTIONS, TLS_FAILED, TLS_HANDSHAKES,
    TLS_RESUMED,
)
from fastdns._proxy_protocol cimport PROXY_NOT_WHOLE, PROXY_WRONG, proxy_header
from fastdns._query cimport OVER_HTTPS, OVER_TCP, OVER_TLS
from fastdns._stream cimport (
    FRAMES, HANDSHAKE, HANDSHAKES_A_TURN, HANDSHAKES_MAX, HTTP1, HTTP2, OF_BELL, OF_LISTENER, OPEN, SERVES_DNS,
    SERVES_HTTPS, SERVES_TLS, SLOTS, STRANGERS_MAX, STREAMS_A_CLIENT, STREAMS_MAX, UNKNOWN,
)
from fastdns._tls cimport ALPN_HTTP2, tls_accept, tls_protocol, tls_server_name
from fastdns._wire cimport load64

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t keep)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct sockaddr_storage:
        pass
    int accept4(int fd, sockaddr* address, socklen_t* length, int flags)
    int SOCK_NONBLOCK, SOCK_CLOEXEC

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int EPOLLIN, EPOLLOUT, EPOLLEXCLUSIVE, EPOLL_CTL_ADD, EPOLL_CTL_DEL
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int count, int timeout)

from fastdns._clients cimport Access
from fastdns._fastpath cimport FastPath

from fastdns.defects import report

SERVICE_NAMES = ("dns", "tls", "https")

cdef uint64_t PATIENT_NS = 500000000   # for a handshake, if others wait for theirs

cdef enum:
    EVENTS = 64
    ACCEPTS_A_TURN = 16
    STRANGER_QUERIES = 8
    STRANGER_OCTETS = 4096      # of what one client has sent
    TLS_HANDSHAKE_RECORD = 0x16     # its first octet: RFC 8446 section 5.1
    PROXY_FIRST = 0x0d              # of a proxy's header; as the length of a message it would be 3,338
    PROXY_SECOND = 0x0a
    TRIMMED = 256               # so many connections that have ended leave memory worth giving back


cdef uint8_t TRANSPORTS[SERVICES]       # of each
TRANSPORTS[<int>SERVES_DNS] = OVER_TCP
TRANSPORTS[<int>SERVES_TLS] = OVER_TLS
TRANSPORTS[<int>SERVES_HTTPS] = OVER_HTTPS


cdef uint64_t client_of(const Asker* asker) noexcept nogil:
    """Whom the limit of connections counts as one: an IPv4 address, an IPv6 /64. 0 is nobody's address."""
    cdef uint64_t high = load64(asker.address)
    return high if high else load64(asker.address + 8)


cdef class StreamListener(StreamQueries):
    """The connections of a worker. `turn` is to be called when `descriptor` is readable.

    While there are none no clock is needed: `on_busy()` is called when that changes, and then `tick` must be called
    twice a second until it returns False. `new_http1(believes_forwarded)` makes what reads a connection that speaks
    HTTP/1.1.
    """

    def __cinit__(self, FastPath fastpath not None, on_busy=None, new_http1=None):
        self.on_busy = on_busy

    def __dealloc__(self):
        cdef int i
        for i in range(self.listeners):
            if self.listening[i].fd >= 0:
                close_descriptor(self.listening[i].fd)

    # --- connections --------------------------------------------------------------------------------------

    def listen(self, int fd, int number, str service not None):
        """Accept connections of this listening descriptor, which is ours from now on.

        `number` is the listener's, `service` one of SERVICE_NAMES.
        """
        cdef Listening* listening = &self.listening[self.listeners]
        if self.listeners == LISTENERS_MAX:
            raise ValueError("too many listeners")
        listening.fd = fd
        listening.number = <uint16_t>number
        listening.service = <uint8_t>SERVICE_NAMES.index(service)
        self.listeners += 1
        listening.pause = NOT_PAUSED
        if not self.watch(listening):
            self.pause(listening, UNTIL_TICK)

    def use_certificate(self, bytes chain not None, bytes key not None, page not None):
        """Use this pair (PEM) for new connections; `page` has the keys of session tickets.

        ValueError: libssl cannot use it, in one line; the former one stays.
        """
        if self.tickets is None:
            self.tickets = TicketKeys(page)
        dot = ServerContext(chain, key, self.tickets, "dot")
        self.https = ServerContext(chain, key, self.tickets, "https")
        self.dot = dot

    def believe(self, Access proxies):
        """Believe what connections from these addresses say of their clients."""
        self.proxies = proxies

    cdef bint watch(self, Listening* listening) noexcept:
        cdef epoll_event event
        memset(&event, 0, sizeof(event))
        # One of the workers that share it wakes up.
        event.events = <unsigned int>EPOLLIN | <unsigned int>EPOLLEXCLUSIVE
        event.data.u64 = <uint64_t>OF_LISTENER + <uint64_t>(listening - self.listening)
        return epoll_ctl(self.descriptor, EPOLL_CTL_ADD, listening.fd, &event) == 0

    cdef void pause(self, Listening* listening, Pause until) noexcept:
        """Leave its connections in the backlog."""
        cdef epoll_event event
        listening.pause = <uint8_t>until
        self.has_paused = True
        epoll_ctl(self.descriptor, EPOLL_CTL_DEL, listening.fd, &event)
        self.need_clock()

    cdef void welcome_back(self, bint is_tick) noexcept:
        """Accept connections again where that was only paused."""
        cdef Listening* listening
        cdef int i
        self.has_paused = False
        for i in range(self.listeners):
            listening = &self.listening[i]
            if listening.fd < 0 or listening.pause == NOT_PAUSED:
                continue
            if (is_tick or listening.pause == UNTIL_HANDSHAKES_END) and self.watch(listening):
                listening.pause = NOT_PAUSED
            else:
                self.has_paused = True

    cdef void accept(self, Listening* listening, uint64_t now_ns) except *:
        cdef sockaddr_storage address
        cdef socklen_t length
        cdef Asker asker
        cdef int fd
        cdef int number
        if listening.fd < 0:
            return
        for number in range(ACCEPTS_A_TURN):
            if listening.service != SERVES_DNS and self.handshakes >= HANDSHAKES_MAX:
                if number:     # whether another one waits is not known yet
                    return
                if not self.end_handshake(now_ns):
                    self.pause(listening, UNTIL_HANDSHAKES_END)
                    return
            length = sizeof(address)
            fd = accept4(listening.fd, <sockaddr*>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                if errno != EAGAIN and errno != EINTR and errno != ECONNABORTED:
                    self.pause(listening, UNTIL_TICK)   # no descriptors, no memory: asking again would not help
                return
            memset(&asker, 0, sizeof(asker))
            read_asker(&address, &asker)
            self.welcome(fd, &asker, listening, now_ns)

    cdef bint end_handshake(self, uint64_t now_ns) noexcept:
        """Close the connection whose handshake has taken longest, if that is long."""
        cdef Stream* found = NULL
        cdef int i
        for i in range(self.high):
            if self.at[i].fd >= 0 and self.at[i].state == HANDSHAKE:
                if found == NULL or self.at[i].opened_ns < found.opened_ns:
                    found = &self.at[i]
        if found == NULL or now_ns < found.opened_ns + PATIENT_NS:
            return False
        self.close(found)
        return True

    cdef void welcome(self, int fd, const Asker* asker, const Listening* listening, uint64_t now_ns) noexcept:
        cdef Stream* stream = NULL
        cdef uint64_t client = client_of(asker)
        cdef int service = listening.service
        cdef bint is_proxied = self.proxies is not None and self.proxies.admits(asker)
        cdef bint is_stranger = not is_proxied and not self.fastpath.access.admits(asker)
        if is_stranger:
            self.tally[TCP_REFUSED] += 1
            # A handshake is too dear for a client that is told nothing but that.
            if self.fastpath.access.drops or self.strangers >= STRANGERS_MAX or service != SERVES_DNS:
                close_descriptor(fd)
                return
        elif (
            not is_proxied and self.count_of(client) >= STREAMS_A_CLIENT
            or self.count >= STREAMS_MAX and not self.make_room(now_ns)
        ):
            self.tally[TCP_REJECTED] += 1
            close_descriptor(fd)
            return
        if service != SERVES_DNS and not is_proxied and self.context_of(service) is None:
            self.unserved += 1
            self.unserved_client = asker[0]
            self.need_clock()
        else:
            stream = self.open(fd, asker, 0 if is_stranger else client, now_ns)
        if stream == NULL:
            close_descriptor(fd)
            return
        stream.service = listening.service
        stream.asker.listener = listening.number
        stream.asker.transport = TRANSPORTS[service]
        stream.is_proxied = is_proxied
        if is_stranger:
            stream.is_stranger = True
            stream.queries_left = STRANGER_QUERIES
            stream.octets_left = STRANGER_OCTETS
            self.strangers += 1
        else:
            self.count += 1
            self.peak = max(self.peak, self.count)
            self.of_service[service] += 1
            self.show_count(service)
        if service == SERVES_DNS:
            stream.state = OPEN
            stream.protocol = FRAMES
        else:
            stream.state = HANDSHAKE
            self.handshakes += 1
            if not is_proxied:
                self.begin_tls(stream)
        self.need_clock()

    cdef ServerContext context_of(self, int service):
        return self.https if service == SERVES_HTTPS else self.dot

    cdef void begin_tls(self, Stream* stream) noexcept:
        cdef ServerContext context = self.context_of(stream.service)
        if context is None or not tls_accept(&stream.tls, context):
            stream.is_broken = True
            self.touch(stream)

    cdef void introduce(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except *:
        """A proxy may say who its client is, and then speaks TLS, or not if it has ended that itself."""
        cdef size_t held = buffer_length(&stream.held)
        cdef Asker asker = stream.asker
        cdef int used
        if held:
            if self.hold(stream, octets, length):
                first = (<const char*>stream.held.octets)[stream.held.start:stream.held.end]
                buffer_free(&stream.held)
                self.introduce(stream, <const uint8_t*>PyBytes_AS_STRING(first), <size_t>len(first), now_ns)
            return
        used = 0
        if not stream.is_named and octets[0] == PROXY_FIRST and (length < 2 or octets[1] == PROXY_SECOND):
            used = proxy_header(octets, length, &asker)
            if used == PROXY_WRONG:
                stream.is_broken = True
                return
            if used == PROXY_NOT_WHOLE:
                stream.begun_ns = stream.opened_ns
                self.hold(stream, octets, length)
                return
            stream.asker = asker
            stream.is_named = True      # what follows is the client's: a second header would be its own
            if self.fastpath.access.drops and not self.fastpath.access.admits(&asker):
                stream.is_broken = True
                return
            octets += used
            length -= <size_t>used
        if length == 0:
            return
        stream.is_introduced = True
        if stream.service != SERVES_DNS:
            if octets[0] == TLS_HANDSHAKE_RECORD:
                self.begin_tls(stream)
            else:
                stream.state = OPEN
                self.handshakes -= 1
                stream.protocol = UNKNOWN if stream.service == SERVES_HTTPS else FRAMES
        if not stream.is_broken:
            self.pass_on(stream, octets, length, now_ns)

    cdef void ready(self, Stream* stream) except *:
        cdef const char* name
        self.tally[TLS_HANDSHAKES] += 1
        self.tally[TLS_RESUMED] += stream.tls.is_resumed
        name = tls_server_name(&stream.tls)
        if name != NULL:
            stream.asker.identity = self.fastpath.access.identity_of(BY_SERVER_NAME, name, strlen(name))
        if stream.service == SERVES_TLS:
            stream.protocol = FRAMES    # whatever ALPN says: strictness has broken clients elsewhere
        else:
            self.speak(stream, HTTP2 if tls_protocol(&stream.tls) == ALPN_HTTP2 else HTTP1)

    cdef void failed(self, Stream* stream) noexcept:
        self.tally[TLS_FAILED] += 1

    cdef void show_count(self, int service) noexcept:
        cdef int counter = TCP_CONNECTIONS
        if service != SERVES_DNS:
            counter = TLS_CONNECTIONS if service == SERVES_TLS else HTTPS_CONNECTIONS
        self.tally[counter] = <uint64_t>self.of_service[service]

    cdef void need_clock(self) noexcept:
        if not self.has_clock and self.on_busy is not None:
            self.has_clock = True
            try:
                self.on_busy()
            except Exception as defect:
                report(defect)

    cdef void closed(self, Stream* stream) noexcept:
        StreamQueries.closed(self, stream)
        if stream.is_stranger:
            self.strangers -= 1
            return
        self.count -= 1
        self.of_service[stream.service] -= 1
        self.show_count(stream.service)

    @property
    def last_unserved(self):
        """The address of the last client of `unserved`, 16 octets."""
        return (<const char*>self.unserved_client.address)[:16]

    def adopt(self, int fd, tuple address not None, int number=0, str service not None="dns"):
        """Serve a connection that was accepted elsewhere, whose client has that address; return its slot.

        The descriptor is ours from now on. None: there was no room, and it is closed.
        """
        cdef Listening listening
        cdef Asker asker
        memset(&asker, 0, sizeof(asker))
        name_asker(address, &asker)
        listening.number = <uint16_t>number
        listening.service = <uint8_t>SERVICE_NAMES.index(service)
        slot = self.unused[self.unused_count - 1] if self.unused_count else SLOTS
        self.welcome(fd, &asker, &listening, read_clock_ns())
        return slot if slot < SLOTS and self.at[slot].fd == fd else None

    def state_of(self, uint32_t slot):
        """What is known of a connection, for those who look: {} if the slot is free."""
        cdef Stream* stream
        if self.find(slot, self.at[slot].serial if slot < SLOTS else 0) == NULL:
            return {}
        stream = &self.at[slot]
        return {
            "waiting": stream.waiting,
            "unwritten": stream.counted,
            "held": buffer_length(&stream.held),
            "has_ended": stream.has_ended,
            "reads": bool(stream.events & EPOLLIN),
        }

    # --- the loop -----------------------------------------------------------------------------------------

    def turn(self):
        """Serve the connections that have something, a bounded amount. Never raises."""
        try:
            self.work()
        except Exception as defect:
            report(defect)

    cdef void work(self) except *:
        cdef epoll_event events[EVENTS]
        cdef int count = max(epoll_wait(self.descriptor, events, EVENTS, 0), 0)
        cdef int handshakes = 0
        cdef uint64_t now_ns = read_clock_ns()
        cdef uint64_t what
        cdef Stream* stream
        cdef int i
        if self.fastpath.cache.catch_up(<int64_t>(now_ns // 1000000)):
            self.fastpath.renew_wanted()
        for i in range(count):
            what = events[i].data.u64
            if what == OF_BELL:
                self.hear(now_ns)
            elif OF_LISTENER <= what < OF_LISTENER + LISTENERS_MAX:
                self.accept(&self.listening[what - OF_LISTENER], now_ns)
            else:
                stream = self.find(<uint32_t>what, <uint32_t>(what >> 32))
                if stream == NULL:
                    continue
                if stream.state == HANDSHAKE:
                    handshakes += 1
                    if handshakes > HANDSHAKES_A_TURN:
                        continue        # it is still readable in the next turn
                if events[i].events & ~<unsigned int>EPOLLOUT:
                    if stream.has_left:
                        stream.is_broken = True     # and now it has closed both sides
                        self.touch(stream)
                    else:
                        self.read(stream, now_ns)
                else:
                    self.touch(stream)
            self.flush(now_ns)
        if self.has_paused and self.handshakes < HANDSHAKES_MAX // 2:
            self.welcome_back(False)

    def tick(self):
        """Close what has used more than its time; return False if there are no connections any more."""
        self.look_at_clock(read_clock_ns())
        if self.has_paused:
            self.welcome_back(True)
        if self.peak - self.count >= TRIMMED:
            malloc_trim(0)
            self.peak = self.count
        self.has_clock = self.count + self.strangers > 0 or self.has_paused
        return self.has_clock

    def stop(self):
        """Accept no more connections, and close each that has its answers; `turn` and `tick` go on."""
        cdef epoll_event event
        cdef uint64_t now_ns = read_clock_ns()
        cdef int i
        for _ in range(SLOTS // EVENTS):        # what has come is answered
            self.turn()
        for i in range(self.listeners):
            if self.listening[i].fd >= 0:
                # Others have the socket, too: closing our descriptor would leave it in the epoll, which would wake
                # for their connections, in their place.
                epoll_ctl(self.descriptor, EPOLL_CTL_DEL, self.listening[i].fd, &event)
                close_descriptor(self.listening[i].fd)
                self.listening[i].fd = -1
        for i in range(self.high):
            if self.at[i].fd >= 0:
                self.end(&self.at[i], now_ns)
        self.flush(now_ns)

    @property
    def idle(self):
        """Whether every connection has its answers."""
        cdef int i
        for i in range(self.high):
            if self.at[i].fd >= 0 and (self.at[i].waiting or self.at[i].counted):
                return False
        return self.ending == 0
