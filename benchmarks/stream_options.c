/* See stream_options.h. */
#include "stream_options.h"
#include "measure.h"
#include <getopt.h>
#include <string.h>

static const char *const modes[] = {"kept", "new", "resumed", "idle", "slow", "resets"};
static const char *const overs[] = {"tcp", "tls", "https"};
static const char *const versions[] = {"1.2", "1.3"};

struct options option = {
    .connections = 8, .pipeline = 16, .timeout = 2000000000, .duration = 5000000000, .queries = UINT64_MAX,
};

static size_t choose(const char *name, const char *text, const char *const *known, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, known[i]) == 0)
            return i;
    fail("--%s %s: not known", name, text);
}

void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"server", 1, 0, 's'}, {"over", 1, 0, 'o'}, {"mode", 1, 0, 'm'}, {"tls", 1, 0, 'v'}, {"get", 0, 0, 'g'},
        {"connections", 1, 0, 'c'}, {"pipeline", 1, 0, 'l'}, {"timeout-ms", 1, 0, 't'}, {"seconds", 1, 0, 'T'},
        {"rate", 1, 0, 'r'}, {"source", 1, 0, 'a'}, {"queries", 1, 0, 'q'},
        {"wait", 0, 0, 'w'}, QUESTION_OPTIONS, {0},
    };
    int which, at = 0;
    option.source = read_address("source", "127.1.0.1");
    while ((which = getopt_long(argc, argv, "", known, &at)) != -1) {
        const char *name = known[at].name;
        switch (which) {
        case 's': option.server = read_server(optarg); break;
        case 'o': option.over = choose(name, optarg, overs, 3); break;
        case 'm': option.mode = choose(name, optarg, modes, 6); break;
        case 'v': option.version = TLS1_2_VERSION + (int)choose(name, optarg, versions, 2); break;
        case 'g': option.by_get = true; break;
        case 'c': option.connections = (int)number(name, optarg, 1, MOST_CONNECTIONS); break;
        case 'l': option.pipeline = (int)number(name, optarg, 1, MOST_PIPELINED); break;
        case 't': option.timeout = number(name, optarg, 1, 60000) * MILLISECOND; break;
        case 'T': option.duration = duration(optarg); break;
        case 'r': option.rate = number(name, optarg, 1, 1000000); break;
        case 'q': option.queries = number(name, optarg, 1, UINT64_MAX); break;
        case 'w': option.waits = true; break;
        case 'a': option.source = read_address(name, optarg); break;
        default:
            if (!question_option(which, name, optarg))
                fail("usage: load_stream --server 127.0.0.1:PORT [--over tcp|tls|https] [--tls 1.2|1.3] [--get]\n"
                     "  [--mode kept|new|resumed|idle|slow|resets] [--rate N] [--seconds S] [--queries N] [--connections N]\n"
                     "  [--pipeline N] [--source 127.x.y.z] [--timeout-ms N] [--wait]\n" QUESTION_USAGE);
        }
    }
    if (optind < argc || !option.server.sin_port)
        fail("--server 127.0.0.1:PORT is missing, or something is too much");
    if ((option.mode == SLOW || option.mode == RESETS) && !option.rate)
        fail("--mode %s: --rate is missing", modes[option.mode]);
    if (option.waits && option.mode != KEPT)
        fail("--wait goes with --mode kept only");
    if (option.mode == RESETS && option.over != OVER_HTTPS)
        fail("--mode resets goes with --over https only");
    if (option.mode != KEPT)
        option.pipeline = 1;
}
