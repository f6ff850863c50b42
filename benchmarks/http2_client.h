/* Queries of load_stream.c over HTTP/2 (RFC 8484), on a channel. */
#pragma once
#include "questions.h"

enum { LONGEST_ANSWER = 1500 };

struct http2; /* a session of nghttp2 */

struct exchange { /* a request and its response; it lives until it is answered */
    uint8_t query[LONGEST_QUERY], answer[LONGEST_ANSWER];
    size_t query_size, query_sent, answer_size;
    int status;
};

/* `answered` is called with `whose` for each exchange whose stream is over, with status 0 if that was no answer. */
struct http2 *http2_new(void *whose, void (*answered)(void *whose, struct exchange *exchange));

/* Ask by POST or by GET; a reset, if there shall be one, follows at once. */
void http2_ask(struct http2 *h2, struct exchange *exchange, bool by_get, bool resets);

/* Take what the server sent; false: the session has to end. */
bool http2_feed(struct http2 *h2, const uint8_t *octets, size_t length);

/* Write frames to `to`, return how many octets; what does not fit comes with the next call. */
size_t http2_drain(struct http2 *h2, uint8_t *to, size_t room);

void http2_free(struct http2 *h2);
