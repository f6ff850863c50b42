/* bad_upstream: an upstream on 127.0.0.1 that behaves as it is told, each domain in its own way.

   usage: bad_upstream [--port N] [--seed N] DOMAIN=WORD[,WORD]…

   The rule with the longest DOMAIN ("." is every name's) that a question stands under holds for it:

   answer       the address 10.255.0.1 for type A, no data for any other; what no rule names is answered so, too
   silent       nothing
   servfail     SERVFAIL, at once
   refused      REFUSED, at once
   strangers    the answer, behind it a record of a name that nobody has asked for
   chain:N      N CNAMEs, then the address
   ttl:S        of the records (3600)
   delay:MS     a reply leaves so much later
   loss:P       of the queries and of the replies P % each are lost

   Prints its port when it is ready. SIGUSR1 makes it silent to everything, SIGUSR2 as it was; SIGTERM ends it with one
   JSON object of what it counted. Everything is bounded: replies that wait by DELAYED a rule, the rest is lost. */
#define _GNU_SOURCE
#include "measure.h"
#include "questions.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum {
    LONGEST_PACKET = 512, /* of the queries that are read */
    LONGEST_REPLY = 2048,
    BATCH = 64,
    MOST_RULES = 16,
    MOST_LINKS = 64,
    DELAYED = 1 << 14, /* a power of two */
    TYPE_A = 1, TYPE_CNAME = 5, TYPE_SOA = 6, TYPE_OPT = 41,
    SERVFAIL = 2, REFUSED = 5,
};

struct reply {
    uint64_t due;
    struct sockaddr_in client;
    size_t size;
    uint8_t octets[LONGEST_REPLY];
};

static struct rule {
    uint8_t domain[LONGEST_NAME]; /* wire form */
    size_t size;
    bool silent, strangers;
    uint8_t rcode, links;
    uint32_t ttl;
    double loss;    /* 0 to 1 */
    uint64_t delay;
    struct reply *delayed; /* a ring, in the order of `due`: one delay for all */
    uint32_t first, next;
} rules[MOST_RULES + 1]; /* the last: of every name */
static int rule_count;

static struct { uint64_t queries, replies, lost, unread, overrun; } counted;
static volatile sig_atomic_t mute, ending;
static int udp;

/* ---- replies that leave together ---- */

static struct reply leaving[BATCH];
static struct iovec leaving_parts[BATCH];
static struct mmsghdr leaving_messages[BATCH];
static unsigned leaving_count;

static void send_leaving(void)
{
    for (unsigned sent = 0; sent < leaving_count;) {
        int n = sendmmsg(udp, leaving_messages + sent, leaving_count - sent, 0);
        if (n < 0 && errno != EINTR && errno != ECONNREFUSED)
            break; /* no room: lost, as on any network */
        sent += n > 0 ? (unsigned)n : 0;
        counted.replies += n > 0 ? (unsigned)n : 0;
    }
    leaving_count = 0;
}

static void leave(const struct reply *reply)
{
    unsigned i = leaving_count++;
    leaving[i].client = reply->client;
    leaving[i].size = reply->size;
    memcpy(leaving[i].octets, reply->octets, reply->size);
    leaving_parts[i] = (struct iovec){.iov_base = leaving[i].octets, .iov_len = reply->size};
    leaving_messages[i].msg_hdr = (struct msghdr){
        .msg_name = &leaving[i].client, .msg_namelen = sizeof leaving[i].client,
        .msg_iov = &leaving_parts[i], .msg_iovlen = 1,
    };
    if (leaving_count == BATCH)
        send_leaving();
}

/* ---- replies that wait ---- */

static void delay(struct rule *rule, const struct reply *reply, uint64_t at)
{
    if (rule->next - rule->first == DELAYED) {
        counted.overrun++;
        return;
    }
    struct reply *kept = &rule->delayed[rule->next++ % DELAYED];
    kept->due = at + rule->delay;
    kept->client = reply->client;
    kept->size = reply->size;
    memcpy(kept->octets, reply->octets, reply->size);
}

/* Send what is due; return when the next one is, 0: none waits. */
static uint64_t leave_delayed(uint64_t at)
{
    uint64_t next = 0;
    for (int i = 0; i <= rule_count; i++) {
        struct rule *rule = &rules[i];
        while (rule->first != rule->next && rule->delayed[rule->first % DELAYED].due <= at)
            leave(&rule->delayed[rule->first++ % DELAYED]);
        if (rule->first != rule->next) {
            uint64_t due = rule->delayed[rule->first % DELAYED].due;
            next = next && next < due ? next : due;
        }
    }
    return next;
}

/* ---- one query ---- */

static bool lost(const struct rule *rule)
{
    if (rule->loss <= 0 || drand48() >= rule->loss)
        return false;
    counted.lost++;
    return true;
}

/* The octets of the name that begins at p, `left` octets at most; 0: it is none, or has a pointer. */
static size_t name_size(const uint8_t *p, size_t left)
{
    for (size_t at = 0; at < left && at < LONGEST_NAME; at += 1u + p[at]) {
        if (p[at] == 0)
            return at + 1;
        if (p[at] > 63)
            return 0;
    }
    return 0;
}

static struct rule *rule_of(const uint8_t *name, size_t size)
{
    for (size_t at = 0; at < size; at += 1u + name[at])
        for (int i = 0; i < rule_count; i++) /* labels' lengths are no letters: strncasecmp cannot mix them up */
            if (rules[i].size == size - at && strncasecmp((const char *)rules[i].domain, (const char *)name + at,
                                                          size - at - 1) == 0)
                return &rules[i];
    return &rules[rule_count];
}

static void put16(struct reply *reply, unsigned value)
{
    reply->octets[reply->size++] = (uint8_t)(value >> 8);
    reply->octets[reply->size++] = (uint8_t)value;
}

static void put(struct reply *reply, const void *octets, size_t size)
{
    memcpy(reply->octets + reply->size, octets, size);
    reply->size += size;
}

/* Class IN; RDATA follows. */
static void put_record(struct reply *reply, unsigned type, uint32_t ttl, unsigned rdata)
{
    put16(reply, type);
    put16(reply, 1);
    put16(reply, ttl >> 16);
    put16(reply, ttl & 0xffff);
    put16(reply, rdata);
}

static void put_address(struct reply *reply, uint32_t ttl)
{
    put_record(reply, TYPE_A, ttl, 4);
    put(reply, (const uint8_t[]){10, 255, 0, 1}, 4);
}

/* A chain of rule->links CNAMEs from the question's name, then the address; return how many records that is. */
static unsigned put_answer(struct reply *reply, const struct rule *rule)
{
    unsigned owner = HEADER;
    for (unsigned i = 0; i < rule->links; i++) {
        put16(reply, 0xc000 | owner);
        put_record(reply, TYPE_CNAME, rule->ttl, 6);
        owner = (unsigned)reply->size;
        put(reply, (const uint8_t[]){3, 'c', (uint8_t)('0' + i / 10), (uint8_t)('0' + i % 10)}, 4);
        put16(reply, 0xc000 | HEADER);
    }
    put16(reply, 0xc000 | owner);
    put_address(reply, rule->ttl);
    return rule->links + 1u;
}

static void put_no_data(struct reply *reply, const struct rule *rule)
{
    static const uint8_t names[4] = {1, 'n', 0, 0}, numbers[16] = {0};
    put16(reply, 0xc000 | HEADER);
    put_record(reply, TYPE_SOA, rule->ttl, 3 + 1 + 4 + sizeof numbers);
    put(reply, names, 4); /* n. and the root */
    put(reply, numbers, sizeof numbers);
    put16(reply, rule->ttl >> 16);
    put16(reply, rule->ttl & 0xffff);
}

/* Write what the rule says to the question of `size` octets that stands behind the header of p. */
static void write_reply(struct reply *reply, const struct rule *rule, const uint8_t *p, size_t size)
{
    unsigned type = (unsigned)(p[HEADER + size - 4] << 8 | p[HEADER + size - 3]);
    uint8_t *head = reply->octets;
    reply->size = 0;
    put(reply, p, HEADER + size);
    head[2] = 0x80 | (p[2] & 0x79); /* QR; opcode and RD are the query's */
    head[3] = 0x80 | (p[3] & 0x10) | rule->rcode; /* RA, CD */
    memset(head + 6, 0, 6);
    if (!rule->rcode && type == TYPE_A) {
        head[7] = (uint8_t)put_answer(reply, rule);
        if (rule->strangers) {
            put(reply, "\10stranger\4demo", 15);
            put_address(reply, rule->ttl);
            head[7]++;
        }
    } else if (!rule->rcode) {
        put_no_data(reply, rule);
        head[9] = 1;
    }
    if (p[11]) { /* the query has an OPT, and so we have one */
        put(reply, "", 1);
        put16(reply, TYPE_OPT);
        put16(reply, 1232);
        put(reply, "\0\0\0\0\0\0", 6);
        head[11] = 1;
    }
}

static void take_query(const uint8_t *p, size_t n, const struct sockaddr_in *client, uint64_t at)
{
    static struct reply reply;
    size_t name = n > HEADER ? name_size(p + HEADER, n - HEADER) : 0;
    if (!name || HEADER + name + 4 > n || p[2] & 0x80 || p[4] || p[5] != 1) {
        counted.unread++;
        return;
    }
    counted.queries++;
    struct rule *rule = rule_of(p + HEADER, name);
    if (mute || rule->silent || lost(rule) || lost(rule))
        return;
    reply.client = *client;
    write_reply(&reply, rule, p, name + 4);
    if (rule->delay)
        delay(rule, &reply, at);
    else
        leave(&reply);
}

static void receive(void)
{
    static uint8_t packets[BATCH][LONGEST_PACKET];
    static struct sockaddr_in clients[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){.iov_base = packets[i], .iov_len = LONGEST_PACKET};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &clients[i], .msg_namelen = sizeof clients[i], .msg_iov = &parts[i], .msg_iovlen = 1,
        };
    }
    int n = recvmmsg(udp, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t at = now();
    for (int i = 0; i < n; i++)
        take_query(packets[i], messages[i].msg_len, &clients[i], at);
}

static void run(void)
{
    struct pollfd readable = {.fd = udp, .events = POLLIN};
    while (!ending) {
        uint64_t at = now(), next = leave_delayed(at);
        send_leaving();
        uint64_t left = next > at ? next - at : 0;
        struct timespec wait = {.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};
        if (ppoll(&readable, 1, next ? &wait : NULL, NULL) > 0)
            receive();
    }
}

/* ---- options ---- */

/* The value of a word such as "delay:200"; NULL: it is another word. */
static const char *value_of(const char *word, const char *name)
{
    size_t size = strlen(name);
    return !strncmp(word, name, size) && word[size] == ':' ? word + size + 1 : NULL;
}

static void read_word(struct rule *rule, const char *word)
{
    const char *value;
    if (!strcmp(word, "silent"))
        rule->silent = true;
    else if (!strcmp(word, "servfail"))
        rule->rcode = SERVFAIL;
    else if (!strcmp(word, "refused"))
        rule->rcode = REFUSED;
    else if (!strcmp(word, "strangers"))
        rule->strangers = true;
    else if ((value = value_of(word, "chain")))
        rule->links = (uint8_t)number("chain", value, 0, MOST_LINKS);
    else if ((value = value_of(word, "ttl")))
        rule->ttl = (uint32_t)number("ttl", value, 0, 86400);
    else if ((value = value_of(word, "delay")))
        rule->delay = number("delay", value, 0, 10000) * MILLISECOND;
    else if ((value = value_of(word, "loss")))
        rule->loss = (double)number("loss", value, 0, 100) / 100;
    else if (strcmp(word, "answer") != 0)
        fail("%s: known are answer, silent, servfail, refused, strangers, chain:N, ttl:S, delay:MS and loss:P", word);
}

static void read_rule(char *text)
{
    if (rule_count == MOST_RULES)
        fail("at most %d rules", MOST_RULES);
    struct rule *rule = &rules[rule_count++];
    char *words = strchr(text, '=');
    if (!words)
        fail("%s: must be DOMAIN=WORD[,WORD]…", text);
    *words++ = 0;
    rule->ttl = 3600;
    rule->size = encode_name(text, rule->domain);
    for (char *word = strtok(words, ","); word; word = strtok(NULL, ","))
        read_word(rule, word);
    if (rule->delay && !(rule->delayed = calloc(DELAYED, sizeof *rule->delayed)))
        fail("out of memory");
}

static uint16_t read_options(int argc, char **argv)
{
    uint16_t port = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--port") && i + 1 < argc)
            port = (uint16_t)number("port", argv[++i], 0, 65535);
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            srand48((long)number("seed", argv[++i], 0, INT32_MAX));
        else
            read_rule(argv[i]);
    }
    rules[rule_count] = (struct rule){.size = 1, .ttl = 3600};
    return port;
}

static void take_signal(int number)
{
    if (number == SIGTERM)
        ending = 1;
    else
        mute = number == SIGUSR1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(read_options(argc, argv))};
    socklen_t length = sizeof here;
    int octets = 4 << 20;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (udp < 0 || bind(udp, (struct sockaddr *)&here, length) < 0 ||
        getsockname(udp, (struct sockaddr *)&here, &length) < 0)
        fail("socket: %s", strerror(errno));
    if (setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets) < 0)
        setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    prctl(PR_SET_TIMERSLACK, 1);
    for (int i = 0; i < 3; i++)
        sigaction((int[]){SIGUSR1, SIGUSR2, SIGTERM}[i], &(struct sigaction){.sa_handler = take_signal}, NULL);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    run();
    printf("{\"queries\": %lu, \"replies\": %lu, \"lost\": %lu, \"unread\": %lu, \"overrun\": %lu}\n", counted.queries,
           counted.replies, counted.lost, counted.unread, counted.overrun);
    return 0;
}
