/* load_stream: asks a DNS server on this machine over TCP, TLS or HTTP/2, and says what came back.

   --mode kept      (default) --connections stay open with --pipeline queries under way on each, and an answer, in whatever
                    order, makes room for the next query. A connection that the server closes, or on which nothing comes
                    for --timeout-ms, ends the run with status 2. --queries: it ends after so many. --wait: when all are
                    open a line is printed, and the run begins with a line on standard input
   --mode new       each of --connections is opened, asks one query, and is closed when it is answered; the next one begins
                    at once, or so that all together are --rate a second. A latency is that of the whole connection
   --mode resumed   the same with TLS; the first brings a ticket, and each of the others resumes its session or a later one
   --mode idle      --connections are opened at once and ask one query each; then a line is printed, and they stay open
                    until standard input ends
   --mode slow      --connections send an octet at a time, --rate a second each: half of them of the ClientHello, the others
                    of a query. What the server closes is opened again
   --mode resets    HTTP/2 requests that are reset at once, --rate a second in all. What the server closes is opened again

   An answer counts when it has QR=1 and the id and question of a query that its connection waits for. Over TLS each query
   is a record; what is to be sent at one time leaves with one call. Prints one JSON object. Only 127.0.0.0/8 is ever asked. */
#define _GNU_SOURCE
#include "channel.h"
#include "http2_client.h"
#include "measure.h"
#include "stream_options.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ROOM_IN = 1 << 17, EVENTS = 256, REOPEN = 100 /* ms between two looks for what the server has closed */ };

struct flight { /* a query that is waited for */
    uint64_t due;
    uint32_t name;
    bool live;
};

static struct connection {
    struct channel channel;
    struct http2 *h2;         /* NULL: frames */
    struct flight *flights;   /* --pipeline of them; an index is an id, over HTTP/2 an exchange */
    struct exchange *exchanges;
    size_t live, in;          /* octets of a frame that has not come whole */
    uint8_t *held;            /* ROOM_IN of them */
    uint64_t opened, heard, next;
    bool is_done, waits_to_write;
} *connections;

static int polling;
static uint64_t begun; /* connections, for --rate */
static bool is_asking; /* false: connections are only being opened */

/* ---- answers ---- */

static bool takes_one(void)
{
    return option.mode == NEW || option.mode == RESUMED || option.mode == IDLE;
}

static void take_answer(struct connection *c, size_t flight, uint16_t id, const uint8_t *p, size_t n)
{
    uint8_t question[LONGEST_QUESTION];
    if (flight >= (size_t)option.pipeline || !c->flights[flight].live)
        return (void)seen.unmatched++;
    size_t size = write_question(question, c->flights[flight].name);
    if (n < HEADER + size || (p[0] << 8 | p[1]) != id || !(p[2] & 0x80) || memcmp(p + HEADER, question, size) != 0)
        return (void)seen.unmatched++;
    c->flights[flight].live = false;
    c->live--;
    c->is_done = takes_one();
    count_answer(p, n, c->flights[flight].due, c->heard);
}

static void take_response(void *whose, struct exchange *exchange)
{
    struct connection *c = whose;
    size_t flight = (size_t)(exchange - c->exchanges);
    if (option.mode == RESETS) {
        c->flights[flight].live = false;
    } else if (exchange->status == 200) {
        take_answer(c, flight, 0, exchange->answer, exchange->answer_size);
    } else {
        fail("HTTP status %d after %lu answers", exchange->status, seen.answered);
    }
}

static void take_frames(struct connection *c)
{
    size_t used = 0;
    while (c->in - used >= 2) {
        const uint8_t *p = c->held + used;
        size_t size = (size_t)p[0] << 8 | p[1];
        if (c->in - used < 2 + size)
            break;
        size_t id = size >= HEADER ? (size_t)(p[2] << 8 | p[3]) : MOST_PIPELINED;
        take_answer(c, id, (uint16_t)id, p + 2, size);
        used += 2 + size;
    }
    c->in -= used;
    memmove(c->held, c->held + used, c->in);
}

/* ---- questions ---- */

static void put_frames_of_http2(struct connection *c)
{
    static uint8_t frames[1 << 16];
    size_t size;
    while ((size = http2_drain(c->h2, frames, sizeof frames)))
        channel_put(&c->channel, frames, size);
}

static void ask(struct connection *c, size_t flight, uint64_t due)
{
    c->flights[flight] = (struct flight){.due = due, .name = choose_name(), .live = true};
    c->live++;
    seen.sent++;
    if (c->h2) {
        struct exchange *exchange = &c->exchanges[flight];
        exchange->query_size = write_query(exchange->query, 0, c->flights[flight].name);
        http2_ask(c->h2, exchange, option.by_get || option.mode == RESETS, option.mode == RESETS);
        put_frames_of_http2(c);
        return;
    }
    uint8_t frame[2 + LONGEST_QUERY];
    size_t size = write_query(frame + 2, (uint16_t)flight, c->flights[flight].name);
    frame[0] = (uint8_t)(size >> 8);
    frame[1] = (uint8_t)size;
    channel_put(&c->channel, frame, 2 + size);
}

static void fill(struct connection *c, uint64_t at)
{
    for (size_t flight = 0; flight < (size_t)option.pipeline && c->live < (size_t)option.pipeline; flight++)
        if (!c->flights[flight].live && seen.sent < option.queries)
            ask(c, flight, at);
}

static bool is_over(uint64_t at)
{
    return option.mode != IDLE && (at >= seen.start + option.duration || seen.sent >= option.queries);
}

/* ---- connections ---- */

static void watch(struct connection *c, int how, bool to_write)
{
    struct epoll_event event = {.events = to_write ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (epoll_ctl(polling, how, c->channel.socket, &event) < 0)
        fail("epoll: %s", strerror(errno));
    c->waits_to_write = to_write;
}

static void send_all(struct connection *c)
{
    if (c->channel.socket < 0)
        return;
    bool is_left = !channel_flush(&c->channel);
    if (is_left != c->waits_to_write)
        watch(c, EPOLL_CTL_MOD, is_left);
}

static void open_connection(struct connection *c, uint64_t at)
{
    c->opened = c->heard = at;
    c->next = at + SECOND / 100;
    c->is_done = false;
    c->live = c->in = 0;
    memset(c->flights, 0, (size_t)option.pipeline * sizeof *c->flights);
    channel_connect(&c->channel);
    if (option.over == OVER_HTTPS)
        c->h2 = http2_new(c, take_response);
    seen.connections++;
    watch(c, EPOLL_CTL_ADD, false);
    if (option.mode != SLOW)
        send_all(c);
}

static void close_connection(struct connection *c)
{
    channel_close(&c->channel);
    http2_free(c->h2);
    c->h2 = NULL;
}

static void ended(struct connection *c)
{
    if (option.mode == KEPT || option.mode == IDLE)
        fail("a connection was closed after %lu answers", seen.answered);
    seen.ended++;
    seen.lost += takes_one() && !c->is_done;
    close_connection(c);
}

static void receive(struct connection *c, uint64_t at)
{
    static uint8_t plain[ROOM_IN];
    c->heard = at;
    ssize_t n = c->h2 ? channel_receive(&c->channel, plain, sizeof plain)
                      : channel_receive(&c->channel, c->held + c->in, ROOM_IN - c->in);
    if (n < 0)
        return ended(c);
    if (!c->h2) {
        c->in += (size_t)n;
        return take_frames(c);
    }
    if (!http2_feed(c->h2, plain, (size_t)n))
        return ended(c);
    if (c->channel.is_open)
        put_frames_of_http2(c);
}

static bool is_half_open(const struct connection *c)
{
    return (c - connections) % 2 == 0 && option.over != OVER_TCP;
}

/* Send an octet when it is time; what is to be sent before is sent whole. */
static void dribble(struct connection *c, uint64_t at)
{
    if (!is_half_open(c) && !c->channel.is_open) {
        send_all(c);
        return;
    }
    if (at < c->next)
        return;
    c->next = at + SECOND / option.rate;
    if (!channel_dribble(&c->channel) && c->channel.is_open && c->live < (size_t)option.pipeline)
        fill(c, at);
}

static void reset_some(struct connection *c, uint64_t at)
{
    if (at < c->next)
        return;
    uint64_t due = (at - c->next) * option.rate / (uint64_t)option.connections / SECOND;
    if (!due)
        return;
    c->next = at;
    for (; due && c->channel.is_open && !c->waits_to_write; due--) {
        ask(c, 0, at);
        c->live = 0;
    }
}

/* Return whether it is time to open a connection that is closed. */
static bool is_due(const struct connection *c, uint64_t at)
{
    if (option.mode == SLOW || option.mode == RESETS)
        return at > c->opened + REOPEN * MILLISECOND;
    if (option.mode == RESUMED && begun && !seen.answered)
        return false;
    return !option.rate || begun < (at - seen.start) * option.rate / SECOND;
}

/* Do what is due on a connection; false: it waits for nothing any more. */
static bool serve(struct connection *c, bool ending, uint64_t at)
{
    if (c->is_done && option.mode != IDLE)
        close_connection(c);
    if (c->channel.socket < 0) {
        if (ending || !is_due(c, at))
            return false;
        begun++;
        open_connection(c, at);
    }
    if (option.mode == SLOW) {
        dribble(c, at);
        return false;
    }
    if (at > c->heard + option.timeout && option.mode != RESETS && !c->is_done) {
        if (option.mode == KEPT || option.mode == IDLE)
            fail("nothing came for %lu ms; %zu queries wait", option.timeout / MILLISECOND, c->live);
        ended(c);
        return !ending;
    }
    if (c->channel.is_open && option.mode == RESETS)
        reset_some(c, at);
    else if (c->channel.is_open && is_asking && !c->is_done && (!ending || takes_one()) && c->live < (size_t)option.pipeline)
        fill(c, takes_one() ? c->opened : at);
    send_all(c);
    return c->live > 0 || (takes_one() && !c->is_done);
}

static bool serve_all(bool ending, uint64_t at)
{
    bool is_waiting = false;
    for (int i = 0; i < option.connections; i++)
        is_waiting |= serve(&connections[i], ending, at);
    return is_waiting;
}

static void wait_and_receive(int milliseconds)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(polling, events, EVENTS, milliseconds);
    uint64_t at = now();
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->channel.socket >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(c, at);
        /* Only those that had an event, and not all thousands. */
        if (option.mode == KEPT || option.mode == IDLE)
            serve(c, is_over(at), at);
    }
}

static void run(void)
{
    int pause = option.mode == SLOW || option.mode == RESETS ? 5 : option.rate ? 1 : 50;
    bool every = option.mode != KEPT && option.mode != IDLE;
    uint64_t looked = 0, at;
    is_asking = true;
    seen.start = seen.last_answer = now();
    for (bool is_waiting = true; is_waiting;) {
        at = now();
        bool ending = is_over(at);
        is_waiting = !ending;
        if (every || at > looked + 50 * MILLISECOND || ending) {
            is_waiting |= serve_all(ending, at);
            looked = at;
        }
        if (option.mode == IDLE && seen.answered == (uint64_t)option.connections)
            return;
        if ((option.mode == SLOW || option.mode == RESETS) && ending)
            return;
        if (is_waiting)
            wait_and_receive(pause);
    }
}

static void say_open(void)
{
    printf("{\"open\": %d, \"seconds\": %.3f}\n", option.connections, (double)(now() - seen.start) / (double)SECOND);
    fflush(stdout);
}

/* Say when all are open, and wait for a line. */
static void wait_to_begin(void)
{
    char octet;
    seen.start = now();
    for (int i = 0; i < option.connections; i++)
        while (!connections[i].channel.is_open) {
            wait_and_receive(50);
            if (now() > seen.start + option.timeout)
                fail("not all connections are open after %lu ms", option.timeout / MILLISECOND);
        }
    say_open();
    if (read(0, &octet, 1) < 0)
        fail("standard input: %s", strerror(errno));
    for (int i = 0; i < option.connections; i++)
        connections[i].heard = now();
}

/* Say that all are open, and keep them until standard input ends. */
static void stay(void)
{
    say_open();
    struct pollfd both[] = {{.fd = 0, .events = POLLIN}, {.fd = polling, .events = POLLIN}};
    while (poll(both, 2, -1) >= 0) {
        if (both[1].revents)
            wait_and_receive(0);
        char octet;
        if (both[0].revents && read(0, &octet, 1) <= 0)
            return;
    }
}

static void make_connections(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    polling = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)option.connections, sizeof *connections);
    for (int i = 0; i < option.connections; i++) {
        struct connection *c = &connections[i];
        c->channel.socket = -1;
        c->flights = calloc((size_t)option.pipeline, sizeof *c->flights);
        c->exchanges = calloc((size_t)option.pipeline, sizeof *c->exchanges);
        c->held = malloc(ROOM_IN);
        if (!c->flights || !c->exchanges || !c->held)
            fail("out of memory");
        if (option.mode == KEPT || option.mode == IDLE)
            open_connection(c, now());
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prepare_questions();
    prepare_channels(option.over, option.version, option.mode == RESUMED, option.server, option.source);
    make_connections();
    if (option.waits)
        wait_to_begin();
    run();
    if (option.mode == IDLE)
        stay();
    for (int i = 0; i < option.connections; i++)
        close_connection(&connections[i]);
    print_result(seen.start);
    return seen.answered || option.mode == SLOW || option.mode == RESETS ? 0 : 1;
}
