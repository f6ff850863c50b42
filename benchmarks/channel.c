/* See channel.h. */
#define _GNU_SOURCE
#include "channel.h"
#include "measure.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOURCES = 4096, NET_OCTETS = 32768 };

static struct {
    enum over over;
    bool resumes;
    struct sockaddr_in server, source;
    SSL_CTX *context; /* NULL: without TLS */
    SSL_SESSION *session; /* the latest ticket */
    uint32_t next_source;
} all;

/* TLS 1.3 brings tickets after the handshake: this is called when one has come. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(all.session);
    all.session = session;
    return 1; /* it is ours now */
}

void prepare_channels(enum over over, int version, bool resumes, struct sockaddr_in server, struct sockaddr_in source)
{
    all.over = over;
    all.resumes = resumes;
    all.server = server;
    all.source = source;
    if (over == OVER_TCP)
        return;
    static const uint8_t dot[] = "\3dot", h2[] = "\2h2";
    const uint8_t *protocol = over == OVER_TLS ? dot : h2;
    all.context = SSL_CTX_new(TLS_client_method());
    if (!all.context || !SSL_CTX_set_min_proto_version(all.context, version ? version : TLS1_2_VERSION) ||
        !SSL_CTX_set_max_proto_version(all.context, version) ||
        SSL_CTX_set_alpn_protos(all.context, protocol, protocol[0] + 1u))
        fail("libssl does not start");
    SSL_CTX_set_session_cache_mode(all.context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(all.context, keep_session);
}

static void open_socket(struct channel *c)
{
    int yes = 1;
    struct sockaddr_in source = all.source;
    source.sin_addr.s_addr = htonl(ntohl(source.sin_addr.s_addr) + all.next_source++ % SOURCES);
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->socket < 0)
        fail("no socket: %s", strerror(errno));
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(c->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(c->socket, (struct sockaddr *)&source, sizeof source) < 0)
        fail("cannot bind: %s", strerror(errno));
    if (connect(c->socket, (struct sockaddr *)&all.server, sizeof all.server) < 0 && errno != EINPROGRESS)
        fail("cannot connect: %s", strerror(errno));
}

void channel_connect(struct channel *c)
{
    open_socket(c);
    c->unsent_size = 0;
    c->is_open = !all.context;
    if (!all.context)
        return;
    c->ssl = SSL_new(all.context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (!c->ssl || !in || !out)
        fail("out of memory");
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(c->ssl, in, out);
    SSL_set_tlsext_host_name(c->ssl, "dns.bench.demo");
    if (all.resumes && all.session) {
        /* libssl uses a ticket of TLS 1.3 once and then marks its session. Some servers give a resumed connection no new
           ticket; with a copy each time, every connection of every server is a resumed one. */
        SSL_SESSION *copy = SSL_SESSION_dup(all.session);
        SSL_set_session(c->ssl, copy);
        SSL_SESSION_free(copy);
    }
    SSL_set_connect_state(c->ssl);
    SSL_do_handshake(c->ssl);
}

static ssize_t from_kernel(struct channel *c, uint8_t *to, size_t room)
{
    ssize_t n = recv(c->socket, to, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return n > 0 ? n : -1;
}

/* False: it failed, or goes on. */
static bool shake_hands(struct channel *c)
{
    if (SSL_do_handshake(c->ssl) != 1)
        return false;
    c->is_open = true;
    seen.handshakes++;
    seen.resumed += (uint64_t)SSL_session_reused(c->ssl);
    return true;
}

ssize_t channel_receive(struct channel *c, uint8_t *to, size_t room)
{
    static uint8_t net[NET_OCTETS];
    if (!c->ssl)
        return from_kernel(c, to, room);
    ssize_t n = from_kernel(c, net, sizeof net);
    if (n <= 0)
        return n;
    BIO_write(SSL_get_rbio(c->ssl), net, (int)n);
    ERR_clear_error();
    size_t got = 0, one;
    int result = 0;
    if (c->is_open || shake_hands(c))
        while ((result = SSL_read_ex(c->ssl, to + got, room - got, &one)) == 1)
            got += one;
    /* An end that comes behind octets shows again at the next call. */
    return got || SSL_get_error(c->ssl, result) == SSL_ERROR_WANT_READ ? (ssize_t)got : -1;
}

void channel_put(struct channel *c, const uint8_t *octets, size_t length)
{
    size_t written;
    if (!length)
        return;
    if (c->ssl) {
        if (SSL_write_ex(c->ssl, octets, length, &written) != 1)
            fail("SSL_write failed");
        return;
    }
    if (c->unsent_size + length > c->unsent_room) {
        c->unsent_room = (c->unsent_size + length) * 2;
        c->unsent = realloc(c->unsent, c->unsent_room);
        if (!c->unsent)
            fail("out of memory");
    }
    memcpy(c->unsent + c->unsent_size, octets, length);
    c->unsent_size += length;
}

/* Send at most so much of what is queued; return how much is left, or -1: the connection has ended. */
static ssize_t send_some(struct channel *c, size_t most)
{
    char *octets = (char *)c->unsent;
    size_t size = c->unsent_size;
    if (c->ssl)
        size = (size_t)BIO_get_mem_data(SSL_get_wbio(c->ssl), &octets);
    if (!size)
        return 0;
    ssize_t n = send(c->socket, octets, size < most ? size : most, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? (ssize_t)size : -1;
    if (c->ssl) {
        if ((size_t)n == size)
            (void)BIO_reset(SSL_get_wbio(c->ssl));
        static uint8_t sent[NET_OCTETS];
        for (size_t left = (size_t)n == size ? 0 : (size_t)n; left;)
            left -= (size_t)BIO_read(SSL_get_wbio(c->ssl), sent, (int)(left < sizeof sent ? left : sizeof sent));
    } else {
        c->unsent_size -= (size_t)n;
        memmove(c->unsent, c->unsent + n, c->unsent_size);
    }
    return (ssize_t)size - n;
}

bool channel_flush(struct channel *c)
{
    return send_some(c, SIZE_MAX) == 0;
}

bool channel_dribble(struct channel *c)
{
    bool is_any = c->ssl ? BIO_pending(SSL_get_wbio(c->ssl)) > 0 : c->unsent_size > 0;
    return is_any && send_some(c, 1) >= 0;
}

void channel_close(struct channel *c)
{
    if (c->socket < 0)
        return;
    if (c->ssl) {
        if (c->is_open) {
            SSL_shutdown(c->ssl);
            channel_flush(c);
        }
        /* libssl would take the ticket of a connection that it did not see closed for useless. */
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(c->ssl);
        c->ssl = NULL;
        ERR_clear_error();
    }
    close(c->socket);
    c->socket = -1;
    c->is_open = false;
}
