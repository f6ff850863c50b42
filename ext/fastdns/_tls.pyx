"""libssl as the others see it: octets in, octets out; no socket and no waiting. TLS 1.2 and 1.3, as a server.

A BIO of ours lends libssl the octets that a caller has received, and appends what is to be sent to a buffer of the
caller's. So a wake-up of a connection is one recv and one send, whatever it brings. No callback of libssl touches
Python. The error queue belongs to the thread and Python's ssl reads it, too: it is empty before and after each call.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcmp, memcpy, memset

from fastdns._buffer cimport buffer_add, buffer_drop, buffer_free, buffer_length
from fastdns._openssl cimport (
    BIO, BIO_CTRL_FLUSH, BIO_METHOD, BIO_TYPE_SOURCE_SINK, BIO_clear_retry_flags, BIO_free, BIO_get_data,
    BIO_get_new_index, BIO_meth_new, BIO_meth_set_ctrl, BIO_meth_set_read, BIO_meth_set_write, BIO_new, BIO_new_mem_buf,
    BIO_set_data, BIO_set_init, BIO_set_retry_read, ERR_GET_LIB, ERR_GET_REASON, ERR_PACK, ERR_clear_error,
    ERR_peek_error, ERR_reason_error_string, EVP_CIPHER, EVP_CIPHER_CTX, EVP_CIPHER_fetch, EVP_DecryptInit_ex,
    EVP_EncryptInit_ex, EVP_MAC_CTX, EVP_MAC_init, EVP_PKEY, EVP_PKEY_free, OPENSSL_VERSION_MAJOR,
    OPENSSL_VERSION_MINOR, OPENSSL_cleanse, OPENSSL_version_major, OPENSSL_version_minor, OSSL_MAC_PARAM_DIGEST,
    OSSL_PARAM, OSSL_PARAM_construct_end, OSSL_PARAM_construct_utf8_string, PEM_read_bio_PrivateKey, PEM_read_bio_X509,
    RAND_bytes, SSL3_RT_ALERT, SSL3_RT_HANDSHAKE, SSL_CTX_add0_chain_cert, SSL_CTX_check_private_key, SSL_CTX_free,
    SSL_CTX_get_app_data, SSL_CTX_new, SSL_CTX_set_alpn_select_cb, SSL_CTX_set_app_data, SSL_CTX_set_cipher_list,
    SSL_CTX_set_ciphersuites, SSL_CTX_set_min_proto_version, SSL_CTX_set_mode, SSL_CTX_set_msg_callback,
    SSL_CTX_set_num_tickets, SSL_CTX_set_options, SSL_CTX_set_read_ahead, SSL_CTX_set_session_cache_mode,
    SSL_CTX_set_timeout, SSL_CTX_set_tlsext_servername_callback, SSL_CTX_set_tlsext_ticket_key_evp_cb,
    SSL_CTX_use_PrivateKey, SSL_CTX_use_certificate, SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN,
    SSL_MODE_RELEASE_BUFFERS, SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_NO_RENEGOTIATION, SSL_OP_PRIORITIZE_CHACHA,
    SSL_RECEIVED_SHUTDOWN, SSL_SESS_CACHE_OFF, SSL_TLSEXT_ERR_NOACK, SSL_TLSEXT_ERR_OK, SSL_do_handshake, SSL_free,
    SSL_get0_alpn_selected, SSL_get_SSL_CTX, SSL_get_error, SSL_get_servername, SSL_has_pending, SSL_new, SSL_read_ex,
    SSL_session_reused, SSL_set_accept_state, SSL_set_bio, SSL_set_msg_callback_arg, SSL_set_shutdown, SSL_shutdown,
    SSL_version, SSL_write_ex, TLS1_2_VERSION, TLS1_3_VERSION, TLSEXT_NAMETYPE_host_name, TLS_server_method, X509,
    X509_free
)
from fastdns._ticket_keys cimport TicketKey, TicketPage, named_ticket_key, newest_ticket_key

cdef extern from *:
    """
    #if defined(__aarch64__) || defined(__arm__)
    #include <sys/auxv.h>
    #endif

    /* Where the processor has no instructions for AES, ChaCha20 takes a fraction of the time. */
    static int fastdns_has_aes(void)
    {
    #if defined(__x86_64__) || defined(__i386__)
        return __builtin_cpu_supports("aes") != 0;
    #elif defined(__aarch64__)
        return (getauxval(AT_HWCAP) & (1 << 3)) != 0;
    #elif defined(__arm__)
        return (getauxval(AT_HWCAP2) & (1 << 0)) != 0;
    #else
        return 0;
    #endif
    }
    """
    int fastdns_has_aes() nogil

cdef enum:
    # Alerts and handshake messages on an open connection: a client may renew its key now and then.
    UNASKED_MAX = 32
    TICKET_SECONDS = 16 * 3600      # as long as a ticket key lives at least, if they rotate every 8 hours

cdef bytes CIPHERS_OF_TLS_1_2 = b"ECDHE+AESGCM:ECDHE+CHACHA20"
cdef bytes CIPHERS = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
if not fastdns_has_aes():
    CIPHERS_OF_TLS_1_2 = b"ECDHE+CHACHA20:ECDHE+AESGCM"
    CIPHERS = b"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"

# What ALPN chooses from, the best first, each with its length.
cdef const char* FOR_DOT = b"\x03dot"
cdef const char* FOR_HTTPS = b"\x02h2\x08http/1.1"

if OPENSSL_version_major() != OPENSSL_VERSION_MAJOR or OPENSSL_version_minor() < OPENSSL_VERSION_MINOR:
    raise ImportError(
        f"fastdns is compiled for OpenSSL {OPENSSL_VERSION_MAJOR}.{OPENSSL_VERSION_MINOR}, but this Python has"
        f" {OPENSSL_version_major()}.{OPENSSL_version_minor()} inside; use Debian's Python"
    )


# ---- what libssl calls


cdef int bio_read(BIO* bio, char* out, int room) noexcept nogil:
    cdef Tls* tls = <Tls*>BIO_get_data(bio)
    cdef size_t length = tls.input_length
    BIO_clear_retry_flags(bio)
    if tls.unasked > UNASKED_MAX or room <= 0:
        return -1
    if length == 0:
        BIO_set_retry_read(bio)
        return -1
    if length > <size_t>room:
        length = room
    memcpy(out, tls.input, length)
    tls.input += length
    tls.input_length -= length
    return <int>length


cdef int bio_write(BIO* bio, const char* octets, int length) noexcept nogil:
    cdef Tls* tls = <Tls*>BIO_get_data(bio)
    BIO_clear_retry_flags(bio)
    if tls.unasked > UNASKED_MAX or length < 0 or not buffer_add(tls.output, <const uint8_t*>octets, length):
        return -1
    return length


cdef long bio_ctrl(BIO* bio, int command, long number, void* pointer) noexcept nogil:
    return command == BIO_CTRL_FLUSH


cdef void on_message(
    int is_sent, int version, int kind, const void* octets, size_t length, SSL* ssl, void* argument
) noexcept nogil:
    cdef Tls* tls = <Tls*>argument
    if kind == SSL3_RT_ALERT and not is_sent and length == 2:
        tls.failure.alert = (<const uint8_t*>octets)[1]
    if tls.is_open and (kind == SSL3_RT_ALERT or kind == SSL3_RT_HANDSHAKE):
        tls.unasked += 1
        if tls.unasked > UNASKED_MAX:
            SSL_set_shutdown(ssl, SSL_RECEIVED_SHUTDOWN)    # libssl looks at no further record


cdef int choose_protocol(
    SSL* ssl, const unsigned char** out, unsigned char* out_length,
    const unsigned char* offered, unsigned int length, void* argument
) noexcept nogil:
    """Choose the first of ours that is offered. A client without one of them is served all the same: many clients of
    DoT offer none, and some offer what they speak elsewhere.
    """
    cdef const unsigned char* wanted = <const unsigned char*>argument
    cdef unsigned int at
    while wanted[0]:
        at = 0
        while at < length and at + 1 + offered[at] <= length:
            if offered[at] == wanted[0] and memcmp(offered + at + 1, wanted + 1, wanted[0]) == 0:
                out[0], out_length[0] = wanted + 1, wanted[0]
                return SSL_TLSEXT_ERR_OK
            at += 1 + offered[at]
        wanted += 1 + wanted[0]
    return SSL_TLSEXT_ERR_NOACK


cdef int accept_server_name(SSL* ssl, int* alert, void* argument) noexcept nogil:
    """Accept any name. A session of TLS 1.2 remembers only an accepted one."""
    return SSL_TLSEXT_ERR_NOACK if SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) == NULL else SSL_TLSEXT_ERR_OK


cdef EVP_CIPHER* ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL)
cdef OSSL_PARAM[2] ticket_mac
ticket_mac[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0)
ticket_mac[1] = OSSL_PARAM_construct_end()


cdef int prepare_ticket(
    SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int is_new
) noexcept nogil:
    """1: done; 2: done, and the client gets a fresh ticket; 0: no ticket, or one that we cannot read; -1: failed."""
    cdef const TicketPage* page = <const TicketPage*>SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))
    cdef TicketKey key
    cdef int age = 0
    cdef bint is_done
    if is_new:
        if not newest_ticket_key(page, &key):
            return 0
        memcpy(name, key.name, sizeof(key.name))
        is_done = RAND_bytes(iv, 16) == 1 and EVP_EncryptInit_ex(cipher, ticket_cipher, NULL, key.cipher, iv) == 1
    else:
        age = named_ticket_key(page, name, &key)
        if age < 0:
            return 0
        is_done = EVP_DecryptInit_ex(cipher, ticket_cipher, NULL, key.cipher, iv) == 1
    is_done = is_done and EVP_MAC_init(mac, key.mac, sizeof(key.mac), ticket_mac) == 1
    OPENSSL_cleanse(&key, sizeof(key))
    if not is_done:
        return -1
    # A ticket of TLS 1.3 is used once (RFC 8446 appendix C.4), so each resumption brings the next one.
    return 2 if not is_new and (age or SSL_version(ssl) == TLS1_3_VERSION) else 1


cdef int no_password(char* out, int room, int is_write, void* argument) noexcept nogil:
    return -1       # without this libcrypto would ask on the terminal


cdef BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fastdns")
if ticket_cipher == NULL or method == NULL:
    raise MemoryError
BIO_meth_set_read(method, bio_read)
BIO_meth_set_write(method, bio_write)
BIO_meth_set_ctrl(method, bio_ctrl)


# ---- a connection


cdef bint tls_accept(Tls* tls, ServerContext context) noexcept nogil:
    cdef BIO* bio
    tls.ssl = NULL
    memset(&tls.failure, 0, sizeof(TlsFailure))
    tls.is_open = tls.is_resumed = False
    tls.pending = TLS_OK
    tls.unasked = 0
    ERR_clear_error()
    bio = BIO_new(method)
    if bio != NULL:
        tls.ssl = SSL_new(context.ctx)
        if tls.ssl == NULL:
            BIO_free(bio)
    if tls.ssl == NULL:
        ERR_clear_error()
        return False
    BIO_set_data(bio, tls)
    BIO_set_init(bio, 1)
    SSL_set_bio(tls.ssl, bio, bio)
    SSL_set_msg_callback_arg(tls.ssl, tls)
    SSL_set_accept_state(tls.ssl)
    return True


cdef int status_of(Tls* tls, int result) noexcept nogil:
    """What libssl means by a result that is no success."""
    cdef int error = SSL_get_error(tls.ssl, result)
    cdef unsigned long code
    if tls.unasked <= UNASKED_MAX:
        if error == SSL_ERROR_WANT_READ:
            return TLS_WANTS_INPUT
        if error == SSL_ERROR_ZERO_RETURN:
            return TLS_CLOSED
    code = ERR_peek_error()
    tls.failure.library = ERR_GET_LIB(code)
    tls.failure.reason = ERR_GET_REASON(code)
    ERR_clear_error()
    return TLS_FAILED


cdef int tls_handshake(Tls* tls) noexcept nogil:
    cdef int result
    if tls.is_open or tls.pending == TLS_FAILED or tls.pending == TLS_CLOSED:
        return TLS_OK if tls.is_open else tls.pending
    ERR_clear_error()
    result = SSL_do_handshake(tls.ssl)
    if result == 1:
        tls.is_open = True
        tls.is_resumed = SSL_session_reused(tls.ssl)
        return TLS_OK
    tls.pending = status_of(tls, result)
    return tls.pending


cdef ssize_t tls_read(Tls* tls, uint8_t* plain, size_t room) noexcept nogil:
    cdef size_t total = 0
    cdef size_t got
    cdef int status
    if tls.pending == TLS_FAILED or tls.pending == TLS_CLOSED:
        return tls.pending
    if not tls.is_open:
        status = tls_handshake(tls)
        if status != TLS_OK:
            return status
    ERR_clear_error()
    while total < room:
        if tls.input_length == 0 and not SSL_has_pending(tls.ssl):
            return <ssize_t>total if total else TLS_WANTS_INPUT
        if SSL_read_ex(tls.ssl, plain + total, room - total, &got) != 1:
            tls.pending = status_of(tls, 0)
            return <ssize_t>total if total else tls.pending
        total += got
    return <ssize_t>total


cdef bint tls_write(Tls* tls, const uint8_t* plain, size_t length) noexcept nogil:
    cdef size_t written
    if length == 0:
        return True
    if not tls.is_open or tls.pending == TLS_FAILED:
        return False
    ERR_clear_error()
    if SSL_write_ex(tls.ssl, plain, length, &written) == 1:
        return True
    status_of(tls, 0)
    tls.pending = TLS_FAILED
    return False


cdef void tls_shut(Tls* tls) noexcept nogil:
    if tls.is_open and tls.pending != TLS_FAILED:
        ERR_clear_error()
        if SSL_shutdown(tls.ssl) < 0:
            ERR_clear_error()


cdef void tls_free(Tls* tls) noexcept nogil:
    if tls.ssl != NULL:
        SSL_free(tls.ssl)
        tls.ssl = NULL
        tls.is_open = False


cdef const char* tls_server_name(const Tls* tls) noexcept nogil:
    return SSL_get_servername(tls.ssl, TLSEXT_NAMETYPE_host_name)


cdef TlsProtocol tls_protocol(const Tls* tls) noexcept nogil:
    cdef const unsigned char* name = NULL
    cdef unsigned int length = 0
    SSL_get0_alpn_selected(tls.ssl, &name, &length)
    if length == 3:
        return ALPN_DOT
    if length == 2:
        return ALPN_HTTP2
    return ALPN_HTTP1 if length else ALPN_NONE


# ---- Python's faces


def failure_text(int library, int reason, int alert=0):
    """Return what OpenSSL calls a failure, as "wrong version number"; an empty text if it has no name for it."""
    cdef const char* text = ERR_reason_error_string(ERR_PACK(library, 0, reason))
    if text == NULL:
        return f"alert {alert}" if alert else ""
    return text.decode("ascii", "replace")


cdef object take_error(str what):
    """Make an error of what libcrypto says, and empty its queue."""
    cdef unsigned long code = ERR_peek_error()
    ERR_clear_error()
    reason = failure_text(ERR_GET_LIB(code), ERR_GET_REASON(code))
    return ValueError(f"{what}: {reason}" if reason else what)


# Ticket keys that a context has had: a connection may outlive both.
cdef list kept = []


cdef class ServerContext:
    """A certificate, its key and the ticket keys, for connections to come. ValueError says in one line what is wrong.

    `kind`: "dot" or "https", what ALPN chooses from.
    """

    def __cinit__(self, bytes chain not None, bytes key not None, TicketKeys tickets not None, str kind not None):
        cdef SSL_CTX* ctx
        if kind not in ("dot", "https"):
            raise ValueError(f"there is no kind {kind!r}")
        ERR_clear_error()
        ctx = self.ctx = SSL_CTX_new(TLS_server_method())
        if ctx == NULL:
            raise take_error("libssl does not start")
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION)
        SSL_CTX_set_options(
            ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA
        )
        SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS)
        SSL_CTX_set_read_ahead(ctx, 1)
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_timeout(ctx, TICKET_SECONDS)
        SSL_CTX_set_num_tickets(ctx, 1)
        if SSL_CTX_set_cipher_list(ctx, CIPHERS_OF_TLS_1_2) != 1 or SSL_CTX_set_ciphersuites(ctx, CIPHERS) != 1:
            raise take_error("libssl lacks the ciphers")
        SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, <void*>(FOR_DOT if kind == "dot" else FOR_HTTPS))
        SSL_CTX_set_tlsext_servername_callback(ctx, accept_server_name)
        SSL_CTX_set_msg_callback(ctx, on_message)
        if tickets not in kept:
            kept.append(tickets)
        SSL_CTX_set_app_data(ctx, tickets.page)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, prepare_ticket)
        self.use_chain(chain)
        self.use_key(key)
        ERR_clear_error()

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)

    cdef void use_chain(self, bytes chain) except *:
        cdef BIO* bio = BIO_new_mem_buf(<const char*>chain, len(chain))
        cdef X509* certificate
        cdef bint is_used
        if bio == NULL:
            raise MemoryError
        try:
            certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL)
            if certificate == NULL:
                raise take_error("the certificate cannot be read")
            is_used = SSL_CTX_use_certificate(self.ctx, certificate) == 1
            X509_free(certificate)
            if not is_used:
                raise take_error("the certificate cannot be used")
            while True:
                certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL)
                if certificate == NULL:
                    break
                if SSL_CTX_add0_chain_cert(self.ctx, certificate) != 1:
                    X509_free(certificate)
                    raise take_error("the certificate's chain cannot be used")
        finally:
            BIO_free(bio)
        ERR_clear_error()

    cdef void use_key(self, bytes text) except *:
        cdef BIO* bio = BIO_new_mem_buf(<const char*>text, len(text))
        cdef EVP_PKEY* key
        cdef bint is_used
        if bio == NULL:
            raise MemoryError
        key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL)
        BIO_free(bio)
        if key == NULL:
            raise take_error("the key cannot be read")
        is_used = SSL_CTX_use_PrivateKey(self.ctx, key) == 1 and SSL_CTX_check_private_key(self.ctx) == 1
        EVP_PKEY_free(key)
        if not is_used:
            raise take_error("the key cannot be used with this certificate")


cdef tuple PROTOCOLS = ("", "dot", "h2", "http/1.1")


cdef class ServerTls:
    """The server's side of one connection, without a socket: what a client sent in, what it is to get out."""

    cdef Tls tls
    cdef Buffer received
    cdef Buffer to_send

    def __cinit__(self, ServerContext context not None):
        self.tls.output = &self.to_send
        if not tls_accept(&self.tls, context):
            raise MemoryError

    def __dealloc__(self):
        tls_free(&self.tls)
        buffer_free(&self.received)
        buffer_free(&self.to_send)

    def feed(self, bytes octets not None):
        """Take what the client has sent."""
        if not buffer_add(&self.received, <const uint8_t*><const char*>octets, len(octets)):
            raise MemoryError

    def handshake(self):
        """Go on with the handshake; return whether it is over. ConnectionError: it has failed, or the client left."""
        cdef int status
        self.lend()
        status = tls_handshake(&self.tls)
        self.take_back()
        self.check(status)
        return status == TLS_OK

    def read(self, size_t room=16384):
        """Return what the client has sent, at most `room` octets; nothing if there is nothing now, None if it closed.

        ConnectionError: the connection has failed.
        """
        cdef bytes plain = PyBytes_FromStringAndSize(NULL, room)
        cdef ssize_t got
        self.lend()
        got = tls_read(&self.tls, <uint8_t*><char*>plain, room)
        self.take_back()
        if got == TLS_CLOSED:
            return None
        self.check(<int>got if got < 0 else <int>TLS_OK)
        return plain[:got] if got > 0 else b""

    def write(self, bytes plain not None):
        """Encrypt. ConnectionError: the connection is not open, or has failed."""
        if not tls_write(&self.tls, <const uint8_t*><const char*>plain, len(plain)):
            raise ConnectionError(self.failure or "the connection is not open")

    def shut(self):
        """Say that nothing follows."""
        tls_shut(&self.tls)

    def take_output(self):
        """Return what is to be sent to the client, once."""
        cdef size_t length = buffer_length(&self.to_send)
        cdef bytes octets = (<const char*>self.to_send.octets + self.to_send.start)[:length] if length else b""
        buffer_drop(&self.to_send, length)
        return octets

    @property
    def is_open(self) -> bool:
        """Whether the handshake is over."""
        return self.tls.is_open

    @property
    def is_resumed(self) -> bool:
        """Whether the client came back with a ticket."""
        return self.tls.is_resumed

    @property
    def server_name(self) -> str:
        """The name that the client asked for; empty: none."""
        cdef const char* name = tls_server_name(&self.tls)
        return "" if name == NULL else name.decode("ascii", "replace")

    @property
    def protocol(self) -> str:
        """What ALPN has chosen: "dot", "h2", "http/1.1"; empty: nothing."""
        return PROTOCOLS[<int>tls_protocol(&self.tls)]

    @property
    def failure(self) -> str:
        """Why it failed, in OpenSSL's words."""
        return failure_text(self.tls.failure.library, self.tls.failure.reason, self.tls.failure.alert)

    cdef void lend(self):
        self.tls.input = self.received.octets + self.received.start
        self.tls.input_length = buffer_length(&self.received)

    cdef void take_back(self):
        buffer_drop(&self.received, buffer_length(&self.received) - self.tls.input_length)

    cdef void check(self, int status) except *:
        if status == TLS_FAILED:
            raise ConnectionError(self.failure or "the connection has failed")
        if status == TLS_CLOSED:
            raise ConnectionError("the client has closed the connection")
