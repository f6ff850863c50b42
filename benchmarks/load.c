/* load: asks a DNS server on this machine as fast as it answers, or at a fixed rate, and says what came back.

   closed loop (default)   a fixed window of queries is outstanding; each answer makes room for the next query. Each of
                           several sockets has its part of the window, so that a slow worker behind one delays no other
   open loop (--rate)      one query each 1/rate seconds, whatever the server does; an answer's latency counts from the
                           moment its query was due, so that a server that stalls is not spared the queries that waited
   --each-once             closed loop over the names in order, each asked again until it was answered with NOERROR

   --source 127.x.y.z      the address of the first socket; each further one has the next: so many clients
   --nap-us N              at a fixed rate: sleep so long between two looks, in place of spinning, so that several loads
                           and an upstream can share a core. What that delays is no part of a latency, which counts from
                           when the query was sent until the kernel had the answer

   An answer counts when it comes to the socket that asked, with the id, QR=1 and the question of a query that is still
   waited for. Everything is bounded: in time by --seconds and --timeout-ms, in memory by the 65,536 ids.
   Prints one JSON object. Only 127.0.0.0/8 is ever asked. */
#define _GNU_SOURCE
#include "measure.h"
#include "questions.h"
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum {
    BATCH = 64,
    IDS = 65536,
    MOST_OUTSTANDING = 60000, /* leaves free ids near at hand */
    MOST_SOCKETS = 64,
    LONGEST_ANSWER = 1500,
};

struct flight { /* a query that is waited for; its index is its id */
    uint64_t due;
    uint32_t name;
    uint16_t socket;
    bool live;
};

static struct {
    struct sockaddr_in server, source;
    int sockets;
    bool each_once;
    uint64_t window, timeout, duration, queries, rate, nap;
} option = {
    .sockets = 1, .window = 128, .timeout = 500000000, .duration = 5000000000,
};

static struct flight flights[IDS];
static uint16_t next_id;
static uint64_t live;

static uint32_t *again;         /* --each-once: names to ask once more */
static uint32_t again_count, next_name;

static int sockets[MOST_SOCKETS];
static uint64_t live_on[MOST_SOCKETS];
static uint64_t epoch; /* CLOCK_REALTIME, which the kernel's stamps have, less CLOCK_MONOTONIC */
static struct pollfd readable[MOST_SOCKETS];
static int turn;                /* the socket of the next batch */

/* ---- sending ---- */

static uint32_t next_to_ask(void)
{
    if (again_count)
        return again[--again_count];
    return option.each_once ? next_name++ : choose_name();
}

static void send_all(int s, struct mmsghdr *messages, unsigned count)
{
    int patience = 1000;
    while (count) {
        int n = sendmmsg(s, messages, count, 0);
        if (n > 0) {
            messages += n;
            count -= (unsigned)n;
        } else if (errno == ECONNREFUSED) { /* an earlier query's ICMP error, told only now; this one was not sent */
            seen.refused++;
        } else if ((errno == EAGAIN || errno == ENOBUFS || errno == EINTR) && patience--) {
            struct pollfd writable = {.fd = s, .events = POLLOUT};
            poll(&writable, 1, 1);
        } else {
            fail("sendmmsg: %s", strerror(errno));
        }
    }
}

/* Choose the socket of the next batch; return how many of `left` queries it takes. */
static unsigned next_batch(uint64_t left)
{
    turn = (turn + 1) % option.sockets;
    if (!option.rate) {
        for (int s = 0; s < option.sockets; s++)
            if (live_on[s] < live_on[turn])
                turn = s;
        uint64_t part = (option.window + (uint64_t)option.sockets - 1) / (uint64_t)option.sockets - live_on[turn];
        left = part < left ? part : left;
    }
    return left < BATCH ? (unsigned)left : BATCH;
}

/* Send `count` queries by the socket whose turn it is; with a rate each has its own due time. */
static void send_batch(unsigned count, uint64_t start, uint64_t at)
{
    static uint8_t packets[BATCH][LONGEST_QUERY];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (unsigned i = 0; i < count; i++) {
        while (flights[next_id].live)
            next_id++;
        uint64_t due = option.rate ? start + (seen.sent + i) * SECOND / option.rate : at;
        uint32_t name = next_to_ask();
        flights[next_id] = (struct flight){.due = option.nap ? at : due, .name = name, .socket = (uint16_t)turn, .live = true};
        if (at - due > seen.latest_send)
            seen.latest_send = at - due;
        parts[i].iov_base = packets[i];
        parts[i].iov_len = write_query(packets[i], next_id++, name);
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    send_all(sockets[turn], messages, count);
    live += count;
    live_on[turn] += count;
    seen.sent += count;
}

/* How many queries may be sent now. */
static uint64_t room(uint64_t start, uint64_t at)
{
    uint64_t most = option.rate ? MOST_OUTSTANDING : option.window;
    uint64_t count = live < most ? most - live : 0;
    if (option.rate) {
        uint64_t due = (at - start) * option.rate / SECOND + 1 - seen.sent;
        count = due < count ? due : count;
    }
    if (option.queries && option.queries - seen.sent < count)
        count = option.queries - seen.sent;
    if (option.each_once && questions.names - next_name + again_count < count)
        count = questions.names - next_name + again_count;
    return count;
}

/* ---- receiving ---- */

static void ask_again(uint32_t name)
{
    if (option.each_once)
        again[again_count++] = name;
}

static void end_flight(struct flight *flight)
{
    flight->live = false;
    live--;
    live_on[flight->socket]--;
}

static void take_answer(const uint8_t *p, size_t n, int socket, uint64_t at)
{
    uint8_t question[LONGEST_QUESTION];
    struct flight *flight = n >= HEADER ? &flights[p[0] << 8 | p[1]] : NULL;
    if (!flight || !flight->live || flight->socket != socket || !(p[2] & 0x80)) {
        seen.unmatched++;
        return;
    }
    size_t size = write_question(question, flight->name);
    if (n < HEADER + size || memcmp(p + HEADER, question, size) != 0) {
        seen.unmatched++;
        return;
    }
    end_flight(flight);
    if (!count_answer(p, n, flight->due, at))
        ask_again(flight->name);
}

/* Wait until there is something to read, for so many milliseconds. */
static void wait_for_answers(int milliseconds)
{
    for (int s = 0; s < option.sockets; s++)
        readable[s] = (struct pollfd){.fd = sockets[s], .events = POLLIN};
    poll(readable, (nfds_t)option.sockets, milliseconds);
}

/* When the kernel had this message; without its stamp, now. */
static uint64_t arrival(struct msghdr *message, uint64_t at)
{
    struct cmsghdr *stamp = CMSG_FIRSTHDR(message);
    struct timespec t;
    if (!stamp || stamp->cmsg_level != SOL_SOCKET || stamp->cmsg_type != SCM_TIMESTAMPNS)
        return at;
    memcpy(&t, CMSG_DATA(stamp), sizeof t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec - epoch;
}

/* Take what has come; true when that was anything. */
static bool receive(void)
{
    static uint8_t packets[BATCH][LONGEST_ANSWER];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    static _Alignas(struct cmsghdr) char stamps[BATCH][CMSG_SPACE(sizeof(struct timespec))];
    bool any = false;
    if (option.sockets > 1) /* one call instead of one for each that is empty */
        wait_for_answers(0);
    for (int s = 0; s < option.sockets; s++) {
        if (option.sockets > 1 && !readable[s].revents)
            continue;
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){.iov_base = packets[i], .iov_len = LONGEST_ANSWER};
            messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
            if (option.nap) {
                messages[i].msg_hdr.msg_control = stamps[i];
                messages[i].msg_hdr.msg_controllen = sizeof stamps[i];
            }
        }
        int n = recvmmsg(sockets[s], messages, BATCH, MSG_DONTWAIT, NULL);
        if (n < 0 && errno == ECONNREFUSED)
            seen.refused++;
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            fail("recvmmsg: %s", strerror(errno));
        uint64_t at = now();
        for (int i = 0; i < n; i++)
            take_answer(packets[i], messages[i].msg_len, s, arrival(&messages[i].msg_hdr, at));
        any = any || n > 0;
    }
    return any;
}

static void give_up_late_ones(uint64_t at)
{
    for (uint32_t id = 0; id < IDS && live; id++) {
        struct flight *flight = &flights[id];
        if (flight->live && at > flight->due + option.timeout) {
            end_flight(flight);
            seen.lost++;
            ask_again(flight->name);
        }
    }
}

/* ---- the run ---- */

static bool all_asked(uint64_t start, uint64_t at)
{
    if (option.each_once && seen.rcode[0] - seen.empty == questions.names)
        return true;
    if (option.queries && seen.sent >= option.queries)
        return true;
    /* At a fixed rate the last due queries are still sent when the time is up: leaving them out would flatter. */
    return at >= start + option.duration + (option.rate ? option.timeout : 0);
}

/* Return when the last query was answered or given up; the value is the run's start. */
static uint64_t run(void)
{
    uint64_t start = now(), next_look = start;
    seen.last_answer = start;
    for (;;) {
        uint64_t at = now();
        bool ending = all_asked(start, at);
        if (ending && live == 0)
            return start;
        for (uint64_t left = ending ? 0 : room(start, at); left;) {
            unsigned count = next_batch(left);
            send_batch(count, start, at);
            left -= count;
        }
        bool any = receive();
        if (at >= next_look) {
            give_up_late_ones(at);
            next_look = at + 100 * MILLISECOND;
        }
        /* At a fixed rate it spins: its own wake-ups would otherwise be part of every latency. */
        if (option.nap)
            nanosleep(&(struct timespec){.tv_nsec = (long)option.nap}, NULL);
        else if (!any && (ending || !option.rate))
            wait_for_answers(10);
    }
}

/* ---- options ---- */

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"server", 1, 0, 's'}, {"window", 1, 0, 'w'}, {"sockets", 1, 0, 'k'}, {"timeout-ms", 1, 0, 't'},
        {"seconds", 1, 0, 'T'}, {"queries", 1, 0, 'q'}, {"rate", 1, 0, 'r'}, {"each-once", 0, 0, 'e'},
        {"source", 1, 0, 'a'}, {"nap-us", 1, 0, 'u'},
        QUESTION_OPTIONS, {0},
    };
    int which, at = 0;
    while ((which = getopt_long(argc, argv, "", known, &at)) != -1) {
        const char *name = known[at].name;
        switch (which) {
        case 's': option.server = read_server(optarg); break;
        case 'w': option.window = number(name, optarg, 1, MOST_OUTSTANDING); break;
        case 'k': option.sockets = (int)number(name, optarg, 1, MOST_SOCKETS); break;
        case 't': option.timeout = number(name, optarg, 1, 60000) * MILLISECOND; break;
        case 'T': option.duration = duration(optarg); break;
        case 'q': option.queries = number(name, optarg, 1, UINT64_MAX); break;
        case 'r': option.rate = number(name, optarg, 1, 1000000); break;
        case 'e': option.each_once = true; break;
        case 'a': option.source = read_address(name, optarg); break;
        case 'u': option.nap = number(name, optarg, 1, 100000) * 1000; break;
        default:
            if (!question_option(which, name, optarg))
                exit(2);
        }
    }
    if (optind < argc || !option.server.sin_port)
        fail("usage: load --server 127.0.0.1:PORT [--seconds S] [--queries N] [--rate N | --window N | --each-once]\n"
             "  [--sockets N] [--source 127.x.y.z] [--nap-us N] [--timeout-ms N]\n" QUESTION_USAGE);
    if (option.each_once && (option.rate || questions.fresh))
        fail("--each-once goes neither with --rate nor with --fresh");
    if (option.nap && !option.rate)
        fail("--nap-us goes with --rate only");
    if (option.rate && !option.queries)
        option.queries = option.rate * option.duration / SECOND;
}

/* Return a socket that asks the server, from the `number`th address when there are several. */
static int open_socket(int number)
{
    int octets = 4 << 20, yes = 1;
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in source = option.source;
    source.sin_addr.s_addr = htonl(ntohl(source.sin_addr.s_addr) + (uint32_t)number);
    if (s < 0 || (source.sin_family && bind(s, (struct sockaddr *)&source, sizeof source) < 0) ||
        connect(s, (struct sockaddr *)&option.server, sizeof option.server) < 0)
        fail("socket: %s", strerror(errno));
    if (option.nap)
        setsockopt(s, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof yes);
    if (setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets) < 0)
        setsockopt(s, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    return s;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prepare_questions();
    prctl(PR_SET_TIMERSLACK, 1); /* a nap is as long as it should be */
    struct timespec real;
    clock_gettime(CLOCK_REALTIME, &real);
    epoch = (uint64_t)real.tv_sec * SECOND + (uint64_t)real.tv_nsec - now();
    again = malloc(option.each_once ? questions.names * sizeof *again : 1);
    if (!again)
        fail("out of memory");
    next_id = (uint16_t)random_number();
    for (int i = 0; i < option.sockets; i++)
        sockets[i] = open_socket(i);
    print_result(run());
    return seen.answered ? 0 : 1;
}
