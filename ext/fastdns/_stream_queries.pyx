"""What clients ask over connections, and how their answers go back: frames (RFC 7766, RFC 7858) and HTTP (RFC 8484).

HTTP/1.1 is read in Python: only few clients speak nothing newer.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy, strlen

from fastdns._buffer cimport buffer_add, buffer_drop, buffer_length, buffer_more
from fastdns._clients cimport BY_PATH
from fastdns._clock cimport read_clock_ns
from fastdns._counters cimport HTTP_ERRORS, QUERIES_HTTPS, QUERIES_TCP, QUERIES_TLS, STREAM_LIMITED
from fastdns._fastpath cimport DROPPED
from fastdns._forwarded cimport forwarded_client
from fastdns._http2 cimport (
    Exchange, http2_drain, http2_feed, http2_free, http2_go_away, http2_is_over, http2_new, http2_next,
    http2_partial_since, http2_respond, http2_unsent,
)
from fastdns._query cimport OVER_HTTPS, OVER_TLS, TIER_STALE, Ticket
from fastdns._stream cimport FRAMES, HTTP1, HTTP2, PIPELINED, UNKNOWN
from fastdns._udp cimport BATCH
from fastdns._wire cimport load16, smallest_ttl, store16

from fastdns.defects import report

cdef uint64_t KEEPALIVE_NS = 100000000      # the unit of RFC 7828: 100 ms

cdef enum:
    PREFACE_OCTETS = 3          # of HTTP/2, which tell it from HTTP/1.1: "PRI"
    BAD_REQUEST = 400
    FORBIDDEN = 403
    UNAVAILABLE = 503


cdef inline bint frame_is_whole(const uint8_t* octets, size_t length) noexcept nogil:
    return length >= 2 and length - 2 >= load16(octets)


cdef inline void put_frame(uint8_t* out, const uint8_t* message, size_t length) noexcept nogil:
    store16(out, <uint16_t>length)
    memcpy(out + 2, message, length)


cdef class StreamQueries(Streams):
    """The queries of connections, for `fastpath`, and the answers to them."""

    def __cinit__(self, FastPath fastpath not None, on_busy=None, new_http1=None):
        self.fastpath = fastpath
        self.new_http1 = new_http1
        self.counters = fastpath.counters
        self.tally = self.counters.at
        self.http1 = {}

    # --- what comes ---------------------------------------------------------------------------------------

    cdef void octets(self, Stream* stream, const uint8_t* plain, size_t length, uint64_t now_ns) except *:
        cdef size_t used
        if stream.has_ended or stream.is_broken:
            return
        if stream.protocol == UNKNOWN:      # HTTP without TLS, or without ALPN
            if buffer_length(&stream.held) + length < PREFACE_OCTETS:
                if buffer_length(&stream.held) == 0:
                    stream.begun_ns = now_ns
                self.hold(stream, plain, length)
                return
            if buffer_length(&stream.held):
                if not self.hold(stream, plain, length):
                    return
                held = (<const char*>stream.held.octets)[stream.held.start:stream.held.end]
                buffer_drop(&stream.held, length + len(held))
                self.choose(stream, <const uint8_t*>PyBytes_AS_STRING(held))
                self.octets(stream, <const uint8_t*>PyBytes_AS_STRING(held), <size_t>len(held), now_ns)
                return
            self.choose(stream, plain)
            if stream.is_broken:
                return
        if stream.protocol == HTTP2:
            if not http2_feed(stream.http2, plain, length, now_ns):
                self.tally[STREAM_LIMITED] += 1
                self.end(stream, now_ns)
            self.take_requests(stream, now_ns)
            stream.begun_ns = http2_partial_since(stream.http2)
            stream.is_partial = stream.begun_ns != 0
        elif stream.protocol == HTTP1:
            self.take_http1(stream, (<const char*>plain)[:length], now_ns)
        elif buffer_length(&stream.held):
            if self.hold(stream, plain, length):
                self.resume(stream, now_ns)
        else:
            used = self.take_frames(stream, plain, length, now_ns)
            if used < length and not stream.has_ended:
                stream.begun_ns = now_ns
                self.hold(stream, plain + used, length - used)

    cdef void choose(self, Stream* stream, const uint8_t* octets) noexcept:
        """Find out which HTTP it is by its first octets: RFC 9113 section 3.4."""
        self.speak(stream, HTTP2 if memcmp(octets, b"PRI", PREFACE_OCTETS) == 0 else HTTP1)

    cdef void speak(self, Stream* stream, int protocol) noexcept:
        if protocol == HTTP2:
            stream.http2 = http2_new()
            if stream.http2 == NULL:
                stream.is_broken = True
                return
        stream.protocol = <uint8_t>protocol

    cdef void resume(self, Stream* stream, uint64_t now_ns) except *:
        """Go on with what is held."""
        cdef size_t used
        if stream.protocol == HTTP2:
            self.take_requests(stream, now_ns)
            return
        if stream.protocol == HTTP1:
            self.take_http1(stream, b"", now_ns)
            return
        used = self.take_frames(stream, stream.held.octets + stream.held.start, buffer_length(&stream.held), now_ns)
        if used:
            buffer_drop(&stream.held, used)
            stream.begun_ns = now_ns
        if buffer_length(&stream.held) == 0:
            self.give_back(&stream.held)

    cdef size_t take_frames(self, Stream* stream, const uint8_t* octets, size_t length, uint64_t now_ns) except? 0:
        """Answer messages of two octets of length each (RFC 1035 section 4.2.2); return how many octets are used."""
        cdef size_t at = 0
        cdef size_t end
        cdef int count, done
        cdef long most
        cdef Query* query = NULL
        while not stream.is_broken:
            if self.is_stuffed(stream):
                stream.is_resting = frame_is_whole(octets + at, length - at)
                break
            most = min(<int>BATCH, PIPELINED - stream.waiting)
            if stream.queries_left >= 0:
                most = min(most, stream.queries_left)
            count = 0
            end = at
            while count < most and frame_is_whole(octets + end, length - end):
                query = &self.fastpath.queries[count]
                self.ask(stream, query, octets + end + 2, load16(octets + end))
                end += 2 + query.length
                count += 1
                if query.length == 0:       # out of step: it is dropped, and all that follows
                    break
            if count == 0:
                break
            done = self.run(stream, count, now_ns)
            query = &self.fastpath.queries[done - 1]
            at = <size_t>(query.packet + query.length - octets)
            if stream.queries_left >= 0:
                stream.queries_left -= done
            if query.length == 0 or (stream.is_stranger and (
                stream.queries_left == 0 or query.result == DROPPED
            )):
                self.end(stream, now_ns)
                return length
        return at

    cdef void take_requests(self, Stream* stream, uint64_t now_ns) except *:
        """Answer requests over HTTP/2."""
        cdef Exchange exchange
        cdef Query* query
        cdef int count, most, i
        while not stream.is_broken:
            if self.is_stuffed(stream):
                stream.is_resting = True
                return
            most = min(<int>BATCH, PIPELINED - stream.waiting)
            count = 0
            while count < most and http2_next(stream.http2, &exchange):
                if exchange.problem:
                    self.settle_exchange(stream, exchange.id, exchange.problem, NULL, 0, -1)
                    continue
                query = &self.fastpath.queries[count]
                self.ask(stream, query, exchange.message, exchange.length)
                query.ticket.exchange = exchange.id
                if self.name_client(stream, query, exchange.client, exchange.forwarded):
                    count += 1
                else:
                    self.settle_exchange(stream, exchange.id, FORBIDDEN, NULL, 0, -1)
            if count == 0:
                return
            self.run(stream, count, now_ns)
            for i in range(count):
                if self.fastpath.queries[i].result == DROPPED:
                    self.settle_exchange(stream, self.fastpath.queries[i].ticket.exchange, BAD_REQUEST, NULL, 0, -1)

    cdef void take_http1(self, Stream* stream, bytes octets, uint64_t now_ns) except *:
        """Answer the next request over HTTP/1.1."""
        cdef bytes message, client, forwarded
        cdef Query* query
        connection = self.http1.get(stream.slot)
        if connection is None:
            connection = self.http1[stream.slot] = self.new_http1(stream.is_proxied)
        if not stream.is_partial:
            stream.begun_ns = now_ns
        asked = connection.receive(octets)
        if asked:
            query = &self.fastpath.queries[0]
            message, client = asked[0].message, asked[0].client.encode()
            forwarded = asked[0].forwarded.encode("latin-1")
            self.ask(stream, query, <const uint8_t*>PyBytes_AS_STRING(message), <size_t>len(message))
            if not self.name_client(stream, query, PyBytes_AS_STRING(client), PyBytes_AS_STRING(forwarded)):
                self.settle_exchange(stream, 0, FORBIDDEN, NULL, 0, -1)
            elif self.run(stream, 1, now_ns) and query.result == DROPPED:
                self.settle_exchange(stream, 0, BAD_REQUEST, NULL, 0, -1)
            # One a turn, as each costs as much as a hundred in frames: `settle_exchange` notes that more may follow.
        stream.is_partial = connection.has_partial
        self.put_http1(stream)

    cdef void put_http1(self, Stream* stream) except *:
        """Put what HTTP/1.1 has to send into the outbox."""
        connection = self.http1[stream.slot]
        output = connection.take_output()
        if not buffer_add(self.outbox(stream), <const uint8_t*>PyBytes_AS_STRING(output), <size_t>len(output)):
            stream.is_broken = True
        if connection.is_closed:
            self.end(stream, read_clock_ns())
        self.touch(stream)

    # --- queries ------------------------------------------------------------------------------------------

    cdef void ask(self, Stream* stream, Query* query, const uint8_t* message, size_t length) noexcept:
        query.packet = message
        query.length = length
        query.asker = stream.asker
        query.ticket.slot = stream.slot
        query.ticket.serial = stream.serial
        query.ticket.exchange = 0

    cdef bint name_client(self, Stream* stream, Query* query, const char* client, const char* forwarded) noexcept:
        """Note who asks: a request may say more than its connection. False: its proxy has to say it, and has not.

        A proxy that has ended TLS speaks for others; where it forgets that, all of them would be the proxy itself.
        """
        cdef uint16_t identity = 0
        if client[0]:
            identity = self.fastpath.access.identity_of(BY_PATH, client, strlen(client))
        if identity:
            query.asker.identity = identity
        if not stream.is_proxied or stream.is_named and forwarded[0] == 0:
            return True
        if forwarded[0] == 0 and stream.tls.ssl != NULL:
            return True     # a client at the address of the proxy, or a proxy that has passed on TLS
        if forwarded_client(forwarded, self.proxies, &query.asker):
            return True
        self.nameless += 1
        return False

    cdef int run(self, Stream* stream, int count, uint64_t now_ns) except -1:
        """Answer the queries that were put into the fast path's batch; return how many have been looked at."""
        cdef int counter = QUERIES_TCP
        cdef int done, i
        if stream.asker.transport == OVER_TLS:
            counter = QUERIES_TLS
        elif stream.asker.transport == OVER_HTTPS:
            counter = QUERIES_HTTPS
        for i in range(count):
            self.fastpath.queries[i].received_ns = now_ns
            if counter != QUERIES_HTTPS:    # RFC 7828 is about TCP; HTTP has its own ways
                self.fastpath.queries[i].asker.keepalive = <uint16_t>(self.idle_ns(stream) // KEEPALIVE_NS)
        stream.heard_ns = now_ns
        # Before an answer leaves: a client with an answer finds it counted.
        self.tally[counter] += <unsigned int>count
        done = self.fastpath.run(count, -1, self)
        self.tally[counter] -= <unsigned int>(count - done)     # they are looked at again
        return done

    # --- answers ------------------------------------------------------------------------------------------

    cdef void put(self, const Query* query, const uint8_t* response) noexcept:
        cdef Stream* stream = self.find(query.ticket.slot, query.ticket.serial)
        cdef size_t length = query.told_octets
        cdef uint8_t* room
        if stream == NULL or stream.is_broken:
            return
        if stream.protocol != FRAMES:
            self.settle_exchange(
                stream, query.ticket.exchange, 200, response, length,
                -1 if query.tier == TIER_STALE else smallest_ttl(response, length),
            )
            return
        room = buffer_more(self.outbox(stream), length + 2)
        if room == NULL:
            stream.is_broken = True
            return
        put_frame(room, response, length)
        self.outbox(stream).end += length + 2
        self.touch(stream)

    cdef void settle_exchange(
        self, Stream* stream, int32_t exchange, int status, const uint8_t* body, size_t length, int64_t max_age
    ) noexcept:
        """Answer a request over HTTP."""
        if status != 200:
            self.tally[HTTP_ERRORS] += 1
        if stream.protocol == HTTP2:
            http2_respond(stream.http2, exchange, status, body, length, max_age)
        else:
            try:
                connection = self.http1[stream.slot]
                if status == 200:
                    connection.respond((<const char*>body)[:length], None if max_age < 0 else max_age)
                else:
                    connection.refuse(status)
                stream.is_resting = True        # the next request may be there
                self.put_http1(stream)
            except Exception as defect:
                stream.is_broken = True
                report(defect)
        self.touch(stream)

    cdef bint is_full(self, const Ticket* ticket) noexcept:
        cdef Stream* stream = self.find(ticket.slot, ticket.serial)
        if stream == NULL or stream.is_broken:
            return True
        # Requests over HTTP are looked at once.
        return stream.protocol == FRAMES and self.is_stuffed(stream)

    cdef void refuse(self, const Ticket* ticket) noexcept:
        cdef Stream* stream = self.find(ticket.slot, ticket.serial)
        if stream != NULL and stream.protocol != FRAMES and not stream.is_broken:
            self.settle_exchange(stream, ticket.exchange, UNAVAILABLE, NULL, 0, -1)

    cdef void wait_more(self, const Ticket* ticket) noexcept:
        cdef Stream* stream = self.find(ticket.slot, ticket.serial)
        if stream != NULL:
            stream.waiting += 1
            if stream.waiting == PIPELINED:
                stream.full_ns = read_clock_ns()

    cdef void wait_less(self, const Ticket* ticket) noexcept:
        cdef Stream* stream = self.find(ticket.slot, ticket.serial)
        if stream != NULL:
            stream.waiting -= 1
            self.touch(stream)

    # --- what the connections ask of their protocol -------------------------------------------------------

    cdef bint fill(self, Stream* stream) noexcept:
        cdef int more
        if stream.protocol != HTTP2:
            return False
        more = http2_drain(stream.http2, self.outbox(stream))
        if more < 0:
            stream.is_broken = True
        elif more == 0 and http2_is_over(stream.http2):
            self.end(stream, stream.heard_ns)
        return more > 0

    cdef size_t withheld(self, const Stream* stream) noexcept nogil:
        return http2_unsent(stream.http2) if stream.protocol == HTTP2 else 0

    cdef void farewell(self, Stream* stream) noexcept:
        if stream.protocol == HTTP2:
            http2_go_away(stream.http2, True)

    cdef void closed(self, Stream* stream) noexcept:
        if stream.http2 != NULL:
            http2_free(stream.http2)
            stream.http2 = NULL
        if stream.protocol == HTTP1:
            self.http1.pop(stream.slot, None)
