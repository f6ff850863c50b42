/* A connection of load_stream.c to the server: TCP, with TLS above it or without. Never waits. */
#pragma once
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum over { OVER_TCP, OVER_TLS, OVER_HTTPS };

struct channel {
    int socket;           /* -1: closed */
    SSL *ssl;             /* NULL: plain */
    uint8_t *unsent;      /* without TLS: what was put and not sent */
    size_t unsent_size, unsent_room;
    bool is_open;         /* the handshake is over */
};

/* To be called once. Each connection comes from the next of 4,096 addresses behind `source`: a server that limits its
   clients takes them for many. version: TLS1_2_VERSION, TLS1_3_VERSION or 0, the newest that both know. With `resumes`
   each resumes the session of the latest ticket. */
void prepare_channels(enum over over, int version, bool resumes, struct sockaddr_in server, struct sockaddr_in source);

/* Begin to connect, and the handshake; what leaves first is put already. */
void channel_connect(struct channel *c);

/* Put what came into `to` (64 KiB at least) and continue the handshake; -1: the connection has ended. */
ssize_t channel_receive(struct channel *c, uint8_t *to, size_t room);

/* Queue these octets; with TLS they become a record of their own. */
void channel_put(struct channel *c, const uint8_t *octets, size_t length);

/* Send what is queued; false: the kernel did not take all, or the connection has ended. */
bool channel_flush(struct channel *c);

/* Send one octet of what is queued; false: nothing is, or it cannot be sent. */
bool channel_dribble(struct channel *c);

/* Close: with TLS, say so first. */
void channel_close(struct channel *c);
