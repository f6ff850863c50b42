/* What load.c and load_stream.c have in common beside their questions: a clock, what was seen, and how it is printed. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECOND UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)

extern struct seen {
    uint64_t sent, answered, lost, unmatched, empty, refused, octets, rcode[16], start, last_answer, latest_send;
    uint64_t connections, handshakes, resumed, ended; /* of streams; the last: by the server */
} seen;

/* End with status 2 and this text. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* CLOCK_MONOTONIC, in nanoseconds. */
uint64_t now(void);

/* The value of the option --name; fails when it is no number from least to most. */
uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most);

/* The value of --seconds in nanoseconds; fails outside of 0.001 to 3600. */
uint64_t duration(const char *text);

/* The value of --name, an address of this machine, 127.x.y.z; fails on any other. Port 0. */
struct sockaddr_in read_address(const char *name, const char *text);

/* An address of this machine, 127.x.y.z:port; fails on any other. Writes to text. */
struct sockaddr_in read_server(char *text);

/* Count an answer: n octets, the header at p, to a query that was due then. True when it is a good one. */
bool count_answer(const uint8_t *p, size_t n, uint64_t due, uint64_t at);

/* Print the run that began at `start` as one JSON object. */
void print_result(uint64_t start);
