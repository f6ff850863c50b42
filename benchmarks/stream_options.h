/* What load_stream.c is told to do. */
#pragma once
#include "channel.h"
#include "questions.h"

enum { MOST_CONNECTIONS = 4096, MOST_PIPELINED = 256 };
enum mode { KEPT, NEW, RESUMED, IDLE, SLOW, RESETS };

extern struct options {
    struct sockaddr_in server, source;
    enum over over;
    enum mode mode;
    int connections, pipeline, version;
    bool by_get, waits;
    uint64_t timeout, duration, rate, queries;
} option;

/* Read the command line; fails, with a line that says why, on what it does not know or cannot be. */
void read_options(int argc, char **argv);
