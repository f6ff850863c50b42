/* See http2_client.h. */
#include "http2_client.h"
#include "measure.h"
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http2 {
    nghttp2_session *session;
    void *whose;
    void (*answered)(void *whose, struct exchange *exchange);
    const uint8_t *frame; /* that did not fit when it was drained */
    size_t frame_size;
};

static struct exchange *exchange_of(nghttp2_session *session, int32_t stream)
{
    return nghttp2_session_get_stream_user_data(session, stream);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *user)
{
    struct exchange *exchange = exchange_of(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    if (exchange && name_size == 7 && memcmp(name, ":status", 7) == 0 && value_size == 3)
        exchange->status = atoi((const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *octets, size_t length, void *user)
{
    struct exchange *exchange = exchange_of(session, stream);
    (void)flags;
    (void)user;
    if (exchange && length <= sizeof exchange->answer - exchange->answer_size) {
        memcpy(exchange->answer + exchange->answer_size, octets, length);
        exchange->answer_size += length;
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user)
{
    struct http2 *h2 = user;
    struct exchange *exchange = exchange_of(session, stream);
    if (exchange) {
        if (error)
            exchange->status = 0;
        h2->answered(h2->whose, exchange);
    }
    return 0;
}

static ssize_t read_query(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                          nghttp2_data_source *source, void *user)
{
    struct exchange *exchange = source->ptr;
    size_t size = exchange->query_size - exchange->query_sent;
    (void)session;
    (void)stream;
    (void)user;
    if (size > room)
        size = room;
    memcpy(to, exchange->query + exchange->query_sent, size);
    exchange->query_sent += size;
    if (exchange->query_sent == exchange->query_size)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

struct http2 *http2_new(void *whose, void (*answered)(void *whose, struct exchange *exchange))
{
    static nghttp2_session_callbacks *callbacks;
    if (!callbacks) {
        if (nghttp2_session_callbacks_new(&callbacks))
            fail("out of memory");
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    }
    static const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    struct http2 *h2 = calloc(1, sizeof *h2);
    if (!h2 || nghttp2_session_client_new(&h2->session, callbacks, h2))
        fail("out of memory");
    h2->whose = whose;
    h2->answered = answered;
    nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, 1);
    return h2;
}

/* base64url without padding (RFC 8484 section 6). */
static size_t encode(const uint8_t *octets, size_t length, char *to)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t size = 0;
    for (size_t bit = 0; bit < length * 8; bit += 6) {
        size_t at = bit / 8;
        unsigned two = octets[at] << 8 | (at + 1 < length ? octets[at + 1] : 0);
        to[size++] = digits[two >> (10 - bit % 8) & 63];
    }
    return size;
}

#define HEADER_OF(name, value, size) \
    {(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, (size), NGHTTP2_NV_FLAG_NO_COPY_NAME}
#define FIXED(name, value) HEADER_OF(name, value, sizeof(value) - 1)

void http2_ask(struct http2 *h2, struct exchange *exchange, bool by_get, bool resets)
{
    char path[32 + LONGEST_QUERY * 2] = "/dns-query?dns=", length[8];
    size_t path_size = strlen("/dns-query");
    if (by_get) {
        path_size = strlen(path);
        path_size += encode(exchange->query, exchange->query_size, path + path_size);
    }
    int length_size = snprintf(length, sizeof length, "%zu", exchange->query_size);
    const nghttp2_nv post[] = {
        FIXED(":method", "POST"), FIXED(":scheme", "https"), FIXED(":authority", "dns.bench.demo"),
        HEADER_OF(":path", path, path_size), FIXED("accept", "application/dns-message"),
        FIXED("content-type", "application/dns-message"), HEADER_OF("content-length", length, (size_t)length_size),
    };
    const nghttp2_nv get[] = {
        FIXED(":method", "GET"), FIXED(":scheme", "https"), FIXED(":authority", "dns.bench.demo"),
        HEADER_OF(":path", path, path_size), FIXED("accept", "application/dns-message"),
    };
    nghttp2_data_provider body = {.source.ptr = exchange, .read_callback = read_query};
    exchange->query_sent = exchange->answer_size = 0;
    exchange->status = 0;
    int32_t stream = by_get ? nghttp2_submit_request(h2->session, NULL, get, 5, NULL, exchange)
                            : nghttp2_submit_request(h2->session, NULL, post, 7, &body, exchange);
    if (stream < 0)
        fail("nghttp2: %s", nghttp2_strerror(stream));
    if (resets) {
        /* The HEADERS have to be out: nghttp2 drops a request that is reset while it waits. */
        if (!h2->frame_size)
            h2->frame_size = (size_t)nghttp2_session_mem_send(h2->session, &h2->frame);
        nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
    }
}

bool http2_feed(struct http2 *h2, const uint8_t *octets, size_t length)
{
    return nghttp2_session_mem_recv(h2->session, octets, length) == (ssize_t)length &&
           (nghttp2_session_want_read(h2->session) || nghttp2_session_want_write(h2->session));
}

size_t http2_drain(struct http2 *h2, uint8_t *to, size_t room)
{
    size_t size = 0;
    for (;;) {
        if (!h2->frame_size) {
            ssize_t n = nghttp2_session_mem_send(h2->session, &h2->frame);
            if (n <= 0)
                return size;
            h2->frame_size = (size_t)n;
        }
        if (h2->frame_size > room - size)
            return size;
        memcpy(to + size, h2->frame, h2->frame_size);
        size += h2->frame_size;
        h2->frame_size = 0;
    }
}

void http2_free(struct http2 *h2)
{
    if (h2)
        nghttp2_session_del(h2->session);
    free(h2);
}
