/* load_tcp: asks a DNS server on this machine over connections that stay open, as fast as it answers.

   Each of --connections has --pipeline queries under way; an answer, in whatever order, makes room for the next query.
   An answer counts when it has QR=1 and the id and question of a query that its connection waits for. A connection that
   the server closes, or on which nothing comes for --timeout-ms, ends the run with status 2.
   Prints one JSON object. Only 127.0.0.0/8 is ever asked. */
#define _GNU_SOURCE
#include "measure.h"
#include "questions.h"
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 64, MOST_PIPELINED = 256, ROOM_IN = 1 << 17, ROOM_OUT = MOST_PIPELINED * (2 + LONGEST_QUERY) };

static struct connection {
    int socket;
    struct flight { /* a query that is waited for; its index is its id */
        uint64_t due;
        uint32_t name;
        bool live;
    } flights[MOST_PIPELINED];
    size_t in, out;   /* octets in the buffers */
    size_t live;
    uint64_t heard;   /* when something came last */
    uint8_t incoming[ROOM_IN], outgoing[ROOM_OUT];
} connections[MOST_CONNECTIONS];

static struct {
    struct sockaddr_in server;
    int connections, pipeline;
    uint64_t timeout, duration;
} option = {.connections = 8, .pipeline = 16, .timeout = 2000000000, .duration = 5000000000};

static void open_connection(struct connection *c)
{
    int yes = 1;
    c->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&option.server, sizeof option.server) < 0)
        fail("cannot connect: %s", strerror(errno));
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    c->heard = now();
}

/* Have all free places of the pipeline ask; what the kernel does not take now waits in `outgoing`. */
static void ask(struct connection *c, uint64_t at)
{
    for (int id = 0; id < option.pipeline; id++) {
        struct flight *flight = &c->flights[id];
        if (flight->live)
            continue;
        *flight = (struct flight){.due = at, .name = choose_name(), .live = true};
        uint8_t *frame = c->outgoing + c->out;
        size_t size = write_query(frame + 2, (uint16_t)id, flight->name);
        frame[0] = (uint8_t)(size >> 8);
        frame[1] = (uint8_t)size;
        c->out += 2 + size;
        c->live++;
        seen.sent++;
    }
}

static void send_waiting(struct connection *c)
{
    ssize_t n = send(c->socket, c->outgoing, c->out, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        fail("a connection was closed after %lu answers: %s", seen.answered, strerror(errno));
    if (n > 0) {
        c->out -= (size_t)n;
        memmove(c->outgoing, c->outgoing + n, c->out);
    }
}

static void take_answer(struct connection *c, const uint8_t *p, size_t n, uint64_t at)
{
    uint8_t question[LONGEST_QUESTION];
    int id = n >= HEADER ? p[0] << 8 | p[1] : MOST_PIPELINED;
    if (id >= option.pipeline || !c->flights[id].live || !(p[2] & 0x80)) {
        seen.unmatched++;
        return;
    }
    size_t size = write_question(question, c->flights[id].name);
    if (n < HEADER + size || memcmp(p + HEADER, question, size) != 0) {
        seen.unmatched++;
        return;
    }
    c->flights[id].live = false;
    c->live--;
    count_answer(p, n, c->flights[id].due, at);
}

static void receive(struct connection *c)
{
    ssize_t n = recv(c->socket, c->incoming + c->in, ROOM_IN - c->in, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        fail("a connection was closed after %lu answers: %s", seen.answered, n ? strerror(errno) : "end of stream");
    uint64_t at = now();
    c->heard = at;
    c->in += (size_t)n;
    size_t used = 0;
    while (c->in - used >= 2) {
        size_t size = (size_t)c->incoming[used] << 8 | c->incoming[used + 1];
        if (c->in - used < 2 + size)
            break;
        take_answer(c, c->incoming + used + 2, size, at);
        used += 2 + size;
    }
    c->in -= used;
    memmove(c->incoming, c->incoming + used, c->in);
}

/* Serve one connection; false when it waits for nothing any more. */
static bool serve(struct connection *c, short events, bool ending, uint64_t at)
{
    if (events & (POLLIN | POLLHUP | POLLERR))
        receive(c);
    if (at > c->heard + option.timeout)
        fail("nothing came for %lu ms; %zu queries wait", option.timeout / MILLISECOND, c->live);
    if (!ending)
        ask(c, at);
    if (c->out)
        send_waiting(c);
    return c->live > 0;
}

/* Return when the last query was answered; the value is the run's start. */
static uint64_t run(void)
{
    struct pollfd polled[MOST_CONNECTIONS] = {{0}};
    uint64_t start = now();
    seen.last_answer = start;
    for (bool waiting = true; waiting;) {
        uint64_t at = now();
        waiting = false;
        for (int i = 0; i < option.connections; i++) {
            struct connection *c = &connections[i];
            waiting |= serve(c, polled[i].revents, at >= start + option.duration, at);
            polled[i] = (struct pollfd){.fd = c->socket, .events = c->out ? POLLIN | POLLOUT : POLLIN};
        }
        if (waiting)
            poll(polled, (nfds_t)option.connections, 100);
    }
    return start;
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"server", 1, 0, 's'}, {"connections", 1, 0, 'c'}, {"pipeline", 1, 0, 'l'}, {"timeout-ms", 1, 0, 't'},
        {"seconds", 1, 0, 'T'}, QUESTION_OPTIONS, {0},
    };
    int which, at = 0;
    while ((which = getopt_long(argc, argv, "", known, &at)) != -1) {
        const char *name = known[at].name;
        switch (which) {
        case 's': option.server = read_server(optarg); break;
        case 'c': option.connections = (int)number(name, optarg, 1, MOST_CONNECTIONS); break;
        case 'l': option.pipeline = (int)number(name, optarg, 1, MOST_PIPELINED); break;
        case 't': option.timeout = number(name, optarg, 1, 60000) * MILLISECOND; break;
        case 'T': option.duration = duration(optarg); break;
        default:
            if (!question_option(which, name, optarg))
                fail("usage: load_tcp --server 127.0.0.1:PORT [--seconds S] [--connections N] [--pipeline N]\n"
                     "  [--timeout-ms N]\n" QUESTION_USAGE);
        }
    }
    if (optind < argc || !option.server.sin_port)
        fail("--server 127.0.0.1:PORT is missing, or something is too much");
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prepare_questions();
    for (int i = 0; i < option.connections; i++)
        open_connection(&connections[i]);
    print_result(run());
    return seen.answered ? 0 : 1;
}
