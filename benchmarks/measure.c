/* See measure.h. Latencies go into a histogram with 64 buckets for each power of two: 1.6 % apart. */
#include "measure.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { STEPS = 64, BUCKETS = 59 * STEPS };

struct seen seen;
static uint64_t histogram[BUCKETS], slowest;

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(2);
}

uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || value < least || value > most)
        fail("--%s %s: must be a number from %lu to %lu", name, text, least, most);
    return value;
}

uint64_t duration(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);
    if (*end || end == text || !(seconds >= 0.001 && seconds <= 3600))
        fail("--seconds %s: must be between 0.001 and 3600", text);
    return (uint64_t)(seconds * (double)SECOND);
}

struct sockaddr_in read_address(const char *name, const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1 || ntohl(address.sin_addr.s_addr) >> 24 != 127)
        fail("--%s %s: must be an address of this machine, 127.x.y.z", name, text);
    return address;
}

struct sockaddr_in read_server(char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon)
        fail("--server %s: must be ADDRESS:PORT", text);
    *colon = 0;
    struct sockaddr_in server = read_address("server", text);
    server.sin_port = htons((uint16_t)number("server", colon + 1, 1, 65535));
    return server;
}

static void record_latency(uint64_t nanoseconds)
{
    uint64_t v = nanoseconds < STEPS ? STEPS : nanoseconds;
    int power = 63 - __builtin_clzll(v); /* at least 6 */
    histogram[(power - 6) * STEPS + (int)(v >> (power - 6)) - STEPS]++;
    if (nanoseconds > slowest)
        slowest = nanoseconds;
}

bool count_answer(const uint8_t *p, size_t n, uint64_t due, uint64_t at)
{
    int rcode = p[3] & 15;
    bool empty = rcode == 0 && p[6] == 0 && p[7] == 0;
    seen.answered++;
    seen.rcode[rcode]++;
    seen.empty += empty;
    seen.octets += n;
    seen.last_answer = at;
    record_latency(at > due ? at - due : 0);
    return rcode == 0 && !empty;
}

static double quantile(double q)
{
    uint64_t wanted = (uint64_t)((double)seen.answered * q), counted = 0;
    for (int i = 0; i < BUCKETS; i++) {
        counted += histogram[i];
        if (counted > wanted)
            return (double)((uint64_t)(STEPS + i % STEPS) << (i / STEPS)) / 1000;
    }
    return (double)slowest / 1000;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

void print_result(uint64_t start)
{
    double seconds = (double)(seen.last_answer - start) / (double)SECOND;
    printf("{\"seconds\": %.6f, \"sent\": %lu, \"answered\": %lu, \"lost\": %lu, \"unmatched\": %lu, \"empty\": %lu, "
           "\"refused\": %lu, \"qps\": %.1f, \"mean_octets\": %.1f, \"load_cpu_seconds\": %.6f, \"rcodes\": {",
           seconds, seen.sent, seen.answered, seen.lost, seen.unmatched, seen.empty, seen.refused,
           seconds > 0 ? (double)seen.answered / seconds : 0,
           seen.answered ? (double)seen.octets / (double)seen.answered : 0, cpu_seconds());
    const char *comma = "";
    for (int i = 0; i < 16; i++) {
        if (seen.rcode[i]) {
            printf("%s\"%d\": %lu", comma, i, seen.rcode[i]);
            comma = ", ";
        }
    }
    printf("}, \"latency_us\": {\"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"p99.9\": %.2f, \"max\": %.2f}, "
           "\"latest_send_us\": %.2f, \"connections\": %lu, \"handshakes\": %lu, \"resumed\": %lu, \"ended\": %lu}\n",
           quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999), (double)slowest / 1000,
           (double)seen.latest_send / 1000, seen.connections, seen.handshakes, seen.resumed, seen.ended);
}
