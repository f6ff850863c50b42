/* load: asks a DNS server on this machine as fast as it answers, or at a fixed rate, and says what came back.

   closed loop (default)   a fixed window of queries is outstanding; each answer makes room for the next query
   open loop (--rate)      one query each 1/rate seconds, whatever the server does; an answer's latency counts from the
                           moment its query was due, so that a server that stalls is not spared the queries that waited
   --each-once             closed loop over the names in order, each asked again until it was answered with NOERROR

   An answer counts when it comes to the socket that asked, with the id, QR=1 and the question of a query that is still
   waited for. Everything is bounded: in time by --seconds and --timeout-ms, in memory by the 65,536 ids.
   Prints one JSON object. Only 127.0.0.0/8 is ever asked. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    BATCH = 64,
    IDS = 65536,
    MOST_OUTSTANDING = 60000, /* leaves free ids near at hand */
    MOST_SOCKETS = 64,
    HEADER = 12,
    LONGEST_NAME = 255,
    LONGEST_QUERY = HEADER + LONGEST_NAME + 4 + 11,
    LONGEST_ANSWER = 1500,
    STEPS = 64,                /* histogram buckets for each power of two: 1.6 % apart */
    BUCKETS = 59 * STEPS,
};
static const uint64_t SECOND = 1000000000, MILLISECOND = 1000000;

struct flight { /* a query that is waited for; its index is its id */
    uint64_t due;
    uint32_t name;
    uint16_t socket;
    bool live;
};

static struct {
    struct sockaddr_in server;
    uint32_t names, first;
    const char *prefix, *domain, *file;
    int digits, sockets;
    bool random, each_once, edns;
    uint64_t window, timeout, duration, queries, rate, seed;
} option = {
    .names = 10000, .prefix = "h", .domain = "bench.test", .digits = 5, .sockets = 1, .random = true, .edns = true,
    .window = 128, .timeout = 500000000, .duration = 5000000000, .seed = 88172645463325252,
};

static struct flight flights[IDS];
static uint16_t next_id;
static uint64_t live;

static uint8_t domain_wire[LONGEST_NAME];
static size_t domain_size;
static uint8_t *file_names;     /* wire form, one behind the other */
static uint32_t *file_offsets;  /* option.names + 1 of them */

static uint32_t *again;         /* --each-once: names to ask once more */
static uint32_t again_count, next_name;

static int sockets[MOST_SOCKETS];
static int turn;                /* the socket of the next batch */

static struct {
    uint64_t sent, answered, lost, unmatched, empty, refused, octets, rcode[16], last_answer, latest_send;
    uint64_t histogram[BUCKETS], slowest;
} seen;

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(2);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t random_number(void) /* xorshift64* */
{
    option.seed ^= option.seed >> 12;
    option.seed ^= option.seed << 25;
    option.seed ^= option.seed >> 27;
    return option.seed * 2685821657736338717u;
}

/* ---- names and packets ---- */

/* Write the text `name` as labels to `wire` (LONGEST_NAME octets); return the size with the root label. */
static size_t encode_name(const char *name, uint8_t *wire)
{
    size_t size = 0;
    while (*name && strcmp(name, ".") != 0) {
        size_t label = strcspn(name, ".");
        if (label == 0 || label > 63 || size + 1 + label + 1 > LONGEST_NAME)
            fail("not a domain name: %s", name);
        wire[size++] = (uint8_t)label;
        memcpy(wire + size, name, label);
        size += label;
        name += label + (name[label] == '.');
    }
    wire[size++] = 0;
    return size;
}

static void read_names(void)
{
    FILE *f = fopen(option.file, "r");
    if (!f)
        fail("%s: %s", option.file, strerror(errno));
    size_t used = 0;
    uint32_t count = 0;
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, " \t\r\n")] = 0;
        if (!line[0] || line[0] == '#')
            continue;
        file_names = realloc(file_names, used + LONGEST_NAME);
        file_offsets = realloc(file_offsets, (count + 2) * sizeof *file_offsets);
        if (!file_names || !file_offsets)
            fail("out of memory");
        file_offsets[count++] = (uint32_t)used;
        used += encode_name(line, file_names + used);
        file_offsets[count] = (uint32_t)used;
    }
    fclose(f);
    if (count == 0)
        fail("%s: no names", option.file);
    option.names = count;
}

/* Write name, type A and class IN of the name with this index; return their size. */
static size_t write_question(uint8_t *p, uint32_t name)
{
    size_t size;
    if (file_names) {
        size = file_offsets[name + 1] - file_offsets[name];
        memcpy(p, file_names + file_offsets[name], size);
    } else {
        size_t prefix = strlen(option.prefix), label = prefix + (size_t)option.digits;
        p[0] = (uint8_t)label;
        memcpy(p + 1, option.prefix, prefix);
        uint32_t rest = option.first + name;
        for (size_t i = label; i > prefix; i--, rest /= 10)
            p[i] = (uint8_t)('0' + rest % 10);
        memcpy(p + 1 + label, domain_wire, domain_size);
        size = 1 + label + domain_size;
    }
    memcpy(p + size, "\0\1\0\1", 4);
    return size + 4;
}

static size_t write_query(uint8_t *p, uint16_t id, uint32_t name)
{
    static const uint8_t opt[11] = {0, 0, 41, 1232 >> 8, 1232 & 255};
    const uint8_t header[HEADER] = {(uint8_t)(id >> 8), (uint8_t)id, 1 /* RD */, 0, 0, 1, 0, 0, 0, 0, 0, option.edns};
    memcpy(p, header, HEADER);
    size_t size = HEADER + write_question(p + HEADER, name);
    if (option.edns) {
        memcpy(p + size, opt, sizeof opt);
        size += sizeof opt;
    }
    return size;
}

/* ---- sending ---- */

static uint32_t choose_name(void)
{
    if (again_count)
        return again[--again_count];
    if (option.random)
        return (uint32_t)((random_number() >> 32) * option.names >> 32);
    uint32_t name = next_name++;
    if (next_name == option.names && !option.each_once)
        next_name = 0;
    return name;
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

/* Send `count` queries (at most BATCH) by the next socket; with a rate each has its own due time. */
static void send_batch(unsigned count, uint64_t start, uint64_t at)
{
    static uint8_t packets[BATCH][LONGEST_QUERY];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (unsigned i = 0; i < count; i++) {
        while (flights[next_id].live)
            next_id++;
        uint64_t due = option.rate ? start + (seen.sent + i) * SECOND / option.rate : at;
        uint32_t name = choose_name();
        flights[next_id] = (struct flight){.due = due, .name = name, .socket = (uint16_t)turn, .live = true};
        if (at - due > seen.latest_send)
            seen.latest_send = at - due;
        parts[i].iov_base = packets[i];
        parts[i].iov_len = write_query(packets[i], next_id++, name);
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    send_all(sockets[turn], messages, count);
    live += count;
    seen.sent += count;
    turn = (turn + 1) % option.sockets;
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
    if (option.each_once && option.names - next_name + again_count < count)
        count = option.names - next_name + again_count;
    return count;
}

/* ---- receiving ---- */

static void record_latency(uint64_t nanoseconds)
{
    uint64_t v = nanoseconds < STEPS ? STEPS : nanoseconds;
    int power = 63 - __builtin_clzll(v); /* at least 6 */
    seen.histogram[(power - 6) * STEPS + (int)(v >> (power - 6)) - STEPS]++;
    if (nanoseconds > seen.slowest)
        seen.slowest = nanoseconds;
}

static void ask_again(uint32_t name)
{
    if (option.each_once)
        again[again_count++] = name;
}

static void take_answer(const uint8_t *p, size_t n, int socket, uint64_t at)
{
    uint8_t question[LONGEST_NAME + 4];
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
    flight->live = false;
    live--;
    int rcode = p[3] & 15;
    bool empty = rcode == 0 && p[6] == 0 && p[7] == 0;
    if (rcode || empty)
        ask_again(flight->name);
    seen.answered++;
    seen.rcode[rcode]++;
    seen.empty += empty;
    seen.octets += n;
    seen.last_answer = at;
    record_latency(at - flight->due);
}

/* Take what has come; true when that was anything. */
static bool receive(void)
{
    static uint8_t packets[BATCH][LONGEST_ANSWER];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    bool any = false;
    for (int s = 0; s < option.sockets; s++) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){.iov_base = packets[i], .iov_len = LONGEST_ANSWER};
            messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int n = recvmmsg(sockets[s], messages, BATCH, MSG_DONTWAIT, NULL);
        if (n < 0 && errno == ECONNREFUSED)
            seen.refused++;
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            fail("recvmmsg: %s", strerror(errno));
        uint64_t at = now();
        for (int i = 0; i < n; i++)
            take_answer(packets[i], messages[i].msg_len, s, at);
        any = any || n > 0;
    }
    return any;
}

static void give_up_late_ones(uint64_t at)
{
    for (uint32_t id = 0; id < IDS && live; id++) {
        struct flight *flight = &flights[id];
        if (flight->live && at > flight->due + option.timeout) {
            flight->live = false;
            live--;
            seen.lost++;
            ask_again(flight->name);
        }
    }
}

static void wait_for_answers(void)
{
    struct pollfd readable[MOST_SOCKETS];
    for (int s = 0; s < option.sockets; s++)
        readable[s] = (struct pollfd){.fd = sockets[s], .events = POLLIN};
    poll(readable, (nfds_t)option.sockets, 10);
}

/* ---- the run ---- */

static bool all_asked(uint64_t start, uint64_t at)
{
    if (option.each_once && seen.rcode[0] - seen.empty == option.names)
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
            unsigned count = left < BATCH ? (unsigned)left : BATCH;
            send_batch(count, start, at);
            left -= count;
        }
        bool any = receive();
        if (at >= next_look) {
            give_up_late_ones(at);
            next_look = at + 100 * MILLISECOND;
        }
        /* At a fixed rate it spins: its own wake-ups would otherwise be part of every latency. */
        if (!any && (ending || !option.rate))
            wait_for_answers();
    }
}

static double quantile(double q)
{
    uint64_t wanted = (uint64_t)((double)seen.answered * q), counted = 0;
    for (int i = 0; i < BUCKETS; i++) {
        counted += seen.histogram[i];
        if (counted > wanted)
            return (double)((uint64_t)(STEPS + i % STEPS) << (i / STEPS)) / 1000;
    }
    return (double)seen.slowest / 1000;
}

static void print_result(uint64_t start)
{
    double seconds = (double)(seen.last_answer - start) / (double)SECOND;
    printf("{\"seconds\": %.6f, \"sent\": %lu, \"answered\": %lu, \"lost\": %lu, \"unmatched\": %lu, \"empty\": %lu, "
           "\"refused\": %lu, \"qps\": %.1f, \"mean_octets\": %.1f, \"rcodes\": {",
           seconds, seen.sent, seen.answered, seen.lost, seen.unmatched, seen.empty, seen.refused,
           seconds > 0 ? (double)seen.answered / seconds : 0,
           seen.answered ? (double)seen.octets / (double)seen.answered : 0);
    const char *comma = "";
    for (int i = 0; i < 16; i++) {
        if (seen.rcode[i]) {
            printf("%s\"%d\": %lu", comma, i, seen.rcode[i]);
            comma = ", ";
        }
    }
    printf("}, \"latency_us\": {\"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"p99.9\": %.2f, \"max\": %.2f}, "
           "\"latest_send_us\": %.2f}\n",
           quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999), (double)seen.slowest / 1000,
           (double)seen.latest_send / 1000);
}

/* ---- options ---- */

static uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || value < least || value > most)
        fail("--%s %s: must be a number from %lu to %lu", name, text, least, most);
    return value;
}

static void read_server(char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon)
        fail("--server %s: must be ADDRESS:PORT", text);
    *colon = 0;
    option.server.sin_family = AF_INET;
    option.server.sin_port = htons((uint16_t)number("server", colon + 1, 1, 65535));
    if (inet_pton(AF_INET, text, &option.server.sin_addr) != 1 || ntohl(option.server.sin_addr.s_addr) >> 24 != 127)
        fail("--server %s: must be an address of this machine, 127.x.y.z", text);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"server", 1, 0, 's'},  {"names", 1, 0, 'n'},     {"first", 1, 0, 'f'},      {"prefix", 1, 0, 'p'},
        {"digits", 1, 0, 'd'},  {"domain", 1, 0, 'D'},    {"file", 1, 0, 'F'},       {"sequential", 0, 0, 'S'},
        {"window", 1, 0, 'w'},  {"sockets", 1, 0, 'k'},   {"timeout-ms", 1, 0, 't'}, {"seconds", 1, 0, 'T'},
        {"queries", 1, 0, 'q'}, {"rate", 1, 0, 'r'},      {"each-once", 0, 0, 'e'},  {"no-edns", 0, 0, 'E'},
        {"seed", 1, 0, 'x'},    {0},
    };
    int which, at = 0;
    while ((which = getopt_long(argc, argv, "", known, &at)) != -1) {
        const char *name = known[at].name;
        switch (which) {
        case 's': read_server(optarg); break;
        case 'n': option.names = (uint32_t)number(name, optarg, 1, 1000000000); break;
        case 'f': option.first = (uint32_t)number(name, optarg, 0, 1000000000); break;
        case 'p': option.prefix = optarg; break;
        case 'd': option.digits = (int)number(name, optarg, 1, 10); break;
        case 'D': option.domain = optarg; break;
        case 'F': option.file = optarg; break;
        case 'S': option.random = false; break;
        case 'w': option.window = number(name, optarg, 1, MOST_OUTSTANDING); break;
        case 'k': option.sockets = (int)number(name, optarg, 1, MOST_SOCKETS); break;
        case 't': option.timeout = number(name, optarg, 1, 60000) * MILLISECOND; break;
        case 'T': option.duration = (uint64_t)(strtod(optarg, NULL) * (double)SECOND); break;
        case 'q': option.queries = number(name, optarg, 1, UINT64_MAX); break;
        case 'r': option.rate = number(name, optarg, 1, 1000000); break;
        case 'e': option.each_once = true, option.random = false; break;
        case 'E': option.edns = false; break;
        case 'x': option.seed = number(name, optarg, 1, UINT64_MAX); break;
        default: exit(2);
        }
    }
    if (optind < argc || !option.server.sin_port)
        fail("usage: load --server 127.0.0.1:PORT [--seconds S] [--queries N] [--rate N | --window N | --each-once]\n"
             "  [--sockets N] [--timeout-ms N] [--no-edns] [--sequential] [--seed N]\n"
             "  [--file NAMES | --prefix h --first N --names N --digits N --domain bench.test]");
    if (option.duration < MILLISECOND || option.duration > 3600 * SECOND)
        fail("--seconds must be between 0.001 and 3600");
    if (option.rate && option.each_once)
        fail("--rate and --each-once exclude each other");
    if (option.rate && !option.queries)
        option.queries = option.rate * option.duration / SECOND;
    if (strlen(option.prefix) + (size_t)option.digits > 63)
        fail("--prefix %s: too long", option.prefix);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    domain_size = encode_name(option.domain, domain_wire);
    if (domain_size + 64 > LONGEST_NAME)
        fail("--domain %s: too long", option.domain);
    if (option.file)
        read_names();
    again = malloc(option.each_once ? option.names * sizeof *again : 1);
    if (!again)
        fail("out of memory");
    next_id = (uint16_t)random_number();
    for (int i = 0; i < option.sockets; i++) {
        int octets = 4 << 20;
        sockets[i] = socket(AF_INET, SOCK_DGRAM, 0);
        if (sockets[i] < 0 || connect(sockets[i], (struct sockaddr *)&option.server, sizeof option.server) < 0)
            fail("socket: %s", strerror(errno));
        setsockopt(sockets[i], SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    }
    print_result(run());
    return seen.answered ? 0 : 1;
}
