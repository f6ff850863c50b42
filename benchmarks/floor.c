/* floor: the least that a UDP DNS server on this kernel can cost.

   Takes queries by recvmmsg, turns each round (QR and RA set, one fixed A record behind the question, the query's own OPT
   kept behind that) and sends them by sendmmsg. No look-up, no checks beyond what keeps it inside its buffers. The answer
   has the size of the true one, so that what a real server costs above this is what the server itself does.

   A blocking recvmmsg with MSG_WAITFORONE is the wait and the read in one system call: cheaper than epoll beside it.

   usage: floor PORT      (0: any; prints the port on standard output when it is ready; ends with a signal) */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, HEADER = 12, OPT = 11, LONGEST_QUERY = 512 };

/* Owner: a pointer to the question at offset 12. A, IN, TTL 3600, 10.0.0.1. */
static const uint8_t RECORD[16] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 10, 0, 0, 1};

static uint8_t packets[BATCH][LONGEST_QUERY + sizeof RECORD];
static struct sockaddr_in clients[BATCH];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int open_socket(uint16_t port)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0)
        fail("floor: socket");
    int octets = 4 << 20;
    setsockopt(s, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);

    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof here;
    if (bind(s, (struct sockaddr *)&here, length) < 0)
        fail("floor: bind");
    if (getsockname(s, (struct sockaddr *)&here, &length) < 0)
        fail("floor: getsockname");
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    return s;
}

/* The length of the answer that stands in `packet` afterwards; 0 for what cannot be a query of load.c. */
static size_t turn_round(uint8_t *packet, size_t n)
{
    if (n < HEADER + OPT || n > LONGEST_QUERY)
        return 0;
    size_t additional = packet[11] ? OPT : 0;
    uint8_t *after_question = packet + n - additional;
    memmove(after_question + sizeof RECORD, after_question, additional);
    memcpy(after_question, RECORD, sizeof RECORD);
    packet[2] |= 0x80; /* QR */
    packet[3] = 0x80;  /* RA, NOERROR */
    packet[7] = 1;     /* ANCOUNT */
    return n + sizeof RECORD;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: floor PORT\n");
        return 2;
    }
    int s = open_socket((uint16_t)atoi(argv[1]));
    for (int i = 0; i < BATCH; i++) {
        parts[i].iov_base = packets[i];
        messages[i].msg_hdr.msg_name = &clients[i];
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i].iov_len = sizeof packets[i];
            messages[i].msg_hdr.msg_namelen = sizeof clients[i];
        }
        int received = recvmmsg(s, messages, BATCH, MSG_WAITFORONE, NULL);
        if (received < 0) {
            if (errno == EINTR)
                continue;
            fail("floor: recvmmsg");
        }
        int answers = 0;
        for (int i = 0; i < received; i++) {
            parts[i].iov_len = turn_round(packets[i], messages[i].msg_len);
            if (parts[i].iov_len == 0)
                break; /* not ours: the rest of the batch is dropped, and load.c counts it as lost */
            answers++;
        }
        for (int sent = 0; sent < answers;) {
            int n = sendmmsg(s, messages + sent, (unsigned)(answers - sent), 0);
            if (n < 0 && errno != EINTR)
                fail("floor: sendmmsg");
            if (n > 0)
                sent += n;
        }
    }
}
