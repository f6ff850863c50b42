"""The part of OpenSSL that we use: libssl in _tls, libcrypto in _tls and _certificate.

Its error queue belongs to the thread, and Python's ssl reads the same: ERR_clear_error() before each call that may
fail and after each that did.
"""

from libc.stdint cimport uint64_t
from libc.time cimport time_t, tm

cdef extern from "<openssl/types.h>" nogil:     # declares only
    ctypedef struct BIO:
        pass
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct X509:
        pass
    ctypedef struct X509_NAME:
        pass
    ctypedef struct X509V3_CTX:
        pass
    ctypedef struct ASN1_INTEGER:
        pass
    ctypedef struct ASN1_STRING:
        pass
    ctypedef struct ASN1_TIME:
        pass
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    ctypedef struct ENGINE:
        pass
    ctypedef struct OSSL_PARAM:
        pass
    ctypedef struct OSSL_LIB_CTX:
        pass

cdef extern from "<openssl/crypto.h>" nogil:
    int OPENSSL_VERSION_MAJOR
    int OPENSSL_VERSION_MINOR
    unsigned int OPENSSL_version_major()
    unsigned int OPENSSL_version_minor()
    void OPENSSL_cleanse(void* octets, size_t length)

cdef extern from "<openssl/err.h>" nogil:
    int ERR_LIB_PEM
    void ERR_clear_error()
    unsigned long ERR_peek_error()
    unsigned long ERR_peek_last_error()
    int ERR_GET_LIB(unsigned long code)
    int ERR_GET_REASON(unsigned long code)
    unsigned long ERR_PACK(int library, int function, int reason)
    const char* ERR_reason_error_string(unsigned long code)

cdef extern from "<openssl/bio.h>" nogil:
    ctypedef struct BIO_METHOD:
        pass
    int BIO_TYPE_SOURCE_SINK
    int BIO_CTRL_FLUSH
    int BIO_get_new_index()
    BIO_METHOD* BIO_meth_new(int type, const char* name)
    int BIO_meth_set_read(BIO_METHOD* method, int (*read)(BIO*, char*, int))
    int BIO_meth_set_write(BIO_METHOD* method, int (*write)(BIO*, const char*, int))
    int BIO_meth_set_ctrl(BIO_METHOD* method, long (*ctrl)(BIO*, int, long, void*))
    BIO* BIO_new(const BIO_METHOD* method)
    const BIO_METHOD* BIO_s_mem()
    long BIO_get_mem_data(BIO* bio, char** out)
    BIO* BIO_new_mem_buf(const void* octets, int length)
    int BIO_free(BIO* bio)
    void BIO_set_init(BIO* bio, int init)
    void BIO_set_data(BIO* bio, void* data)
    void* BIO_get_data(BIO* bio)
    void BIO_set_retry_read(BIO* bio)
    void BIO_clear_retry_flags(BIO* bio)

cdef extern from "<openssl/asn1.h>" nogil:
    int MBSTRING_UTF8
    unsigned long ASN1_STRFLGS_ESC_MSB
    const unsigned char* ASN1_STRING_get0_data(const ASN1_STRING* text)
    int ASN1_STRING_length(const ASN1_STRING* text)
    int ASN1_INTEGER_set_uint64(ASN1_INTEGER* number, uint64_t value)
    int ASN1_TIME_to_tm(const ASN1_TIME* at, tm* out)

cdef extern from "<openssl/pem.h>" nogil:
    int PEM_R_NO_START_LINE
    X509* PEM_read_bio_X509(BIO* bio, X509** out, int (*password)(char*, int, int, void*), void* user)
    EVP_PKEY* PEM_read_bio_PrivateKey(BIO* bio, EVP_PKEY** out, int (*password)(char*, int, int, void*), void* user)
    int PEM_write_bio_X509(BIO* bio, X509* certificate)
    int PEM_write_bio_PKCS8PrivateKey(
        BIO* bio, const EVP_PKEY* key, const EVP_CIPHER* cipher, const char* password, int length, void* ask, void* user
    )

cdef extern from "<openssl/x509.h>" nogil:
    ctypedef struct X509_EXTENSION:
        pass
    unsigned long XN_FLAG_RFC2253
    X509* X509_new()
    void X509_free(X509* certificate)
    int X509_set_version(X509* certificate, long version)
    ASN1_INTEGER* X509_get_serialNumber(X509* certificate)
    X509_NAME* X509_get_subject_name(const X509* certificate)
    X509_NAME* X509_get_issuer_name(const X509* certificate)
    int X509_set_issuer_name(X509* certificate, const X509_NAME* name)
    int X509_NAME_add_entry_by_txt(
        X509_NAME* name, const char* field, int type, const unsigned char* text, int length, int at, int is_set
    )
    int X509_NAME_print_ex(BIO* bio, const X509_NAME* name, int indent, unsigned long flags)
    const ASN1_TIME* X509_get0_notBefore(const X509* certificate)
    const ASN1_TIME* X509_get0_notAfter(const X509* certificate)
    ASN1_TIME* X509_getm_notBefore(const X509* certificate)
    ASN1_TIME* X509_getm_notAfter(const X509* certificate)
    ASN1_TIME* X509_time_adj_ex(ASN1_TIME* at, int days, long seconds, time_t* now)
    EVP_PKEY* X509_get0_pubkey(const X509* certificate)
    int X509_set_pubkey(X509* certificate, EVP_PKEY* key)
    int X509_check_private_key(const X509* certificate, const EVP_PKEY* key)
    int X509_self_signed(X509* certificate, int verify)
    int X509_get_signature_info(X509* certificate, int* digest, int* key, int* security_bits, unsigned int* flags)
    void* X509_get_ext_d2i(const X509* certificate, int number, int* is_critical, int* at)
    int X509_add_ext(X509* certificate, X509_EXTENSION* extension, int at)
    void X509_EXTENSION_free(X509_EXTENSION* extension)
    int X509_sign(X509* certificate, EVP_PKEY* key, const EVP_MD* digest)

cdef extern from "<openssl/x509v3.h>" nogil:
    ctypedef struct GENERAL_NAME:
        pass
    ctypedef struct GENERAL_NAMES:
        pass
    int GEN_DNS
    int GEN_IPADD
    int NID_basic_constraints
    int NID_ext_key_usage
    int NID_key_usage
    int NID_subject_alt_name
    int NID_subject_key_identifier
    int sk_GENERAL_NAME_num(const GENERAL_NAMES* names)
    GENERAL_NAME* sk_GENERAL_NAME_value(const GENERAL_NAMES* names, int at)
    void* GENERAL_NAME_get0_value(const GENERAL_NAME* name, int* kind)
    void GENERAL_NAMES_free(GENERAL_NAMES* names)
    void X509V3_set_ctx(X509V3_CTX* context, X509* issuer, X509* subject, void* request, void* crl, int flags)
    void X509V3_set_ctx_nodb(X509V3_CTX* context)
    X509_EXTENSION* X509V3_EXT_conf_nid(void* configuration, X509V3_CTX* context, int number, const char* value)

cdef extern from "<openssl/evp.h>" nogil:
    int EVP_PKEY_EC
    int EVP_PKEY_ED448
    int EVP_PKEY_ED25519
    int EVP_PKEY_RSA
    int EVP_PKEY_RSA_PSS
    EVP_PKEY* EVP_EC_gen(const char* curve)
    void EVP_PKEY_free(EVP_PKEY* key)
    int EVP_PKEY_get_base_id(const EVP_PKEY* key)
    int EVP_PKEY_get_bits(const EVP_PKEY* key)
    int EVP_PKEY_get_group_name(const EVP_PKEY* key, char* out, size_t room, size_t* length)
    const EVP_MD* EVP_sha256()
    EVP_CIPHER* EVP_CIPHER_fetch(OSSL_LIB_CTX* context, const char* name, const char* properties)
    int EVP_EncryptInit_ex(
        EVP_CIPHER_CTX* context, const EVP_CIPHER* cipher, ENGINE* e, const unsigned char* key, const unsigned char* iv
    )
    int EVP_DecryptInit_ex(
        EVP_CIPHER_CTX* context, const EVP_CIPHER* cipher, ENGINE* e, const unsigned char* key, const unsigned char* iv
    )
    int EVP_MAC_init(EVP_MAC_CTX* context, const unsigned char* key, size_t length, const OSSL_PARAM* parameters)

cdef extern from "<openssl/rand.h>" nogil:
    int RAND_bytes(unsigned char* out, int length)

cdef extern from "<openssl/params.h>" nogil:
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char* key, char* text, size_t length)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "<openssl/core_names.h>" nogil:
    const char* OSSL_MAC_PARAM_DIGEST

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL_METHOD:
        pass
    int TLS1_2_VERSION
    int TLS1_3_VERSION
    uint64_t SSL_OP_NO_RENEGOTIATION
    uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE
    uint64_t SSL_OP_PRIORITIZE_CHACHA
    int SSL_MODE_RELEASE_BUFFERS
    int SSL_SESS_CACHE_OFF
    int SSL_ERROR_WANT_READ
    int SSL_ERROR_ZERO_RETURN
    int SSL_RECEIVED_SHUTDOWN
    int SSL_TLSEXT_ERR_OK
    int SSL_TLSEXT_ERR_NOACK
    int TLSEXT_NAMETYPE_host_name
    int SSL3_RT_ALERT
    int SSL3_RT_HANDSHAKE

    const SSL_METHOD* TLS_server_method()
    SSL_CTX* SSL_CTX_new(const SSL_METHOD* method)
    void SSL_CTX_free(SSL_CTX* ctx)
    long SSL_CTX_set_min_proto_version(SSL_CTX* ctx, int version)
    uint64_t SSL_CTX_set_options(SSL_CTX* ctx, uint64_t options)
    long SSL_CTX_set_mode(SSL_CTX* ctx, long mode)
    long SSL_CTX_set_session_cache_mode(SSL_CTX* ctx, long mode)
    long SSL_CTX_set_read_ahead(SSL_CTX* ctx, long yes)
    long SSL_CTX_set_timeout(SSL_CTX* ctx, long seconds)
    int SSL_CTX_set_num_tickets(SSL_CTX* ctx, size_t count)
    int SSL_CTX_set_cipher_list(SSL_CTX* ctx, const char* names)
    int SSL_CTX_set_ciphersuites(SSL_CTX* ctx, const char* names)
    int SSL_CTX_use_certificate(SSL_CTX* ctx, X509* certificate)
    long SSL_CTX_add0_chain_cert(SSL_CTX* ctx, X509* certificate)
    int SSL_CTX_use_PrivateKey(SSL_CTX* ctx, EVP_PKEY* key)
    int SSL_CTX_check_private_key(const SSL_CTX* ctx)
    void SSL_CTX_set_alpn_select_cb(
        SSL_CTX* ctx,
        int (*choose)(SSL*, const unsigned char**, unsigned char*, const unsigned char*, unsigned int, void*),
        void* argument
    )
    void SSL_CTX_set_tlsext_servername_callback(SSL_CTX* ctx, int (*accept)(SSL*, int*, void*))
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(
        SSL_CTX* ctx, int (*keys)(SSL*, unsigned char*, unsigned char*, EVP_CIPHER_CTX*, EVP_MAC_CTX*, int)
    )
    int SSL_CTX_set_app_data(SSL_CTX* ctx, void* data)
    void* SSL_CTX_get_app_data(SSL_CTX* ctx)
    void SSL_CTX_set_msg_callback(
        SSL_CTX* ctx, void (*told)(int, int, int, const void*, size_t, SSL*, void*)
    )

    SSL* SSL_new(SSL_CTX* ctx)
    void SSL_free(SSL* ssl)
    SSL_CTX* SSL_get_SSL_CTX(const SSL* ssl)
    void SSL_set_bio(SSL* ssl, BIO* read, BIO* write)
    void SSL_set_accept_state(SSL* ssl)
    long SSL_set_msg_callback_arg(SSL* ssl, void* argument)
    bint SSL_has_pending(const SSL* ssl)
    int SSL_do_handshake(SSL* ssl)
    int SSL_read_ex(SSL* ssl, void* out, size_t room, size_t* got)
    int SSL_write_ex(SSL* ssl, const void* octets, size_t length, size_t* written)
    void SSL_set_shutdown(SSL* ssl, int mode)
    int SSL_shutdown(SSL* ssl)
    int SSL_get_error(const SSL* ssl, int result)
    int SSL_version(const SSL* ssl)
    int SSL_session_reused(const SSL* ssl)
    const char* SSL_get_servername(const SSL* ssl, int type)
    void SSL_get0_alpn_selected(const SSL* ssl, const unsigned char** protocol, unsigned int* length)
