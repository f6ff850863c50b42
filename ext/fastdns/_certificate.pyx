"""A certificate and its key as files hold them: what they say, whether they belong together; a self-signed pair.

Only libcrypto is called: the process that reads these files as root serves nobody.
"""

import ipaddress
import re
import time

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from libc.time cimport time_t, tm

from fastdns._openssl cimport (
    ASN1_INTEGER_set_uint64, ASN1_STRFLGS_ESC_MSB, ASN1_STRING, ASN1_STRING_get0_data, ASN1_STRING_length, ASN1_TIME,
    ASN1_TIME_to_tm, BIO, BIO_free, BIO_get_mem_data, BIO_new, BIO_new_mem_buf, BIO_s_mem, ERR_GET_LIB, ERR_GET_REASON,
    ERR_LIB_PEM, ERR_clear_error, ERR_peek_last_error, EVP_EC_gen, EVP_PKEY, EVP_PKEY_ED448, EVP_PKEY_ED25519,
    EVP_PKEY_EC, EVP_PKEY_RSA, EVP_PKEY_RSA_PSS, EVP_PKEY_free, EVP_PKEY_get_base_id, EVP_PKEY_get_bits,
    EVP_PKEY_get_group_name, EVP_sha256, GENERAL_NAME_get0_value, GENERAL_NAMES, GENERAL_NAMES_free,
    GEN_DNS, GEN_IPADD, MBSTRING_UTF8, NID_basic_constraints, NID_ext_key_usage, NID_key_usage, NID_subject_alt_name,
    NID_subject_key_identifier, PEM_R_NO_START_LINE, PEM_read_bio_PrivateKey, PEM_read_bio_X509,
    PEM_write_bio_PKCS8PrivateKey, PEM_write_bio_X509, RAND_bytes, X509, X509V3_CTX, X509V3_EXT_conf_nid,
    X509V3_set_ctx, X509V3_set_ctx_nodb, X509_EXTENSION, X509_EXTENSION_free, X509_NAME, X509_NAME_add_entry_by_txt,
    X509_NAME_print_ex, X509_add_ext, X509_check_private_key, X509_free, X509_get0_notAfter, X509_get0_notBefore,
    X509_get0_pubkey, X509_get_ext_d2i, X509_get_issuer_name, X509_get_serialNumber, X509_get_signature_info,
    X509_get_subject_name, X509_getm_notAfter, X509_getm_notBefore, X509_new, X509_self_signed, X509_set_issuer_name,
    X509_set_pubkey, X509_set_version, X509_sign, X509_time_adj_ex, XN_FLAG_RFC2253, sk_GENERAL_NAME_num,
    sk_GENERAL_NAME_value
)

cdef extern from "<time.h>" nogil:
    time_t timegm(tm* broken_down)

cdef enum:
    CHAIN_MAX = 32              # certificates; a chain of the web has three or four
    DAYS_MAX = 36500
    RSA_BITS_MIN = 2048         # libssl and clients refuse less
    SECURITY_BITS_MIN = 112     # of a signature: SHA-1 has less
    EARLIER = 3600              # seconds by which a new pair's time begins before now: the clocks of clients differ

cdef dict CURVES = {"prime256v1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
cdef object LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class PairError(ValueError):
    """Says in one line why a pair cannot be used. `is_about_key`: because of the key's file."""

    is_about_key = False

    def __init__(self, text, *, is_about_key=False):
        super().__init__(text)
        self.is_about_key = is_about_key


cdef class Certificate:
    """What a server's certificate says of itself. Times are Unix's."""

    cdef readonly tuple names           # that clients may know the server by: domains, and addresses as text
    cdef readonly int64_t not_before
    cdef readonly int64_t not_after
    cdef readonly str issuer            # as "CN=R11,O=Let's Encrypt,C=US"
    cdef readonly bint is_self_signed
    cdef readonly str key_kind          # "ECDSA P-256", "RSA 2048", "Ed25519"
    cdef readonly int length            # of the chain, this one included

    def covers(self, str name not None):
        """Return whether clients accept the certificate for this domain or address (RFC 6125, RFC 9525)."""
        try:
            return str(ipaddress.ip_address(name)) in self.names
        except ValueError:
            name = name.lower().rstrip(".")
        parent = name.partition(".")[2]
        return any(known.lower() in (name, f"*.{parent}" if "." in parent else name) for known in self.names)


cdef int no_password(char* out, int room, int is_write, void* argument) noexcept nogil:
    return -1       # without this libcrypto would ask on the terminal


cdef BIO* memory_of(bytes octets) except NULL:
    cdef BIO* bio = BIO_new_mem_buf(<const char*>octets, len(octets))
    if bio == NULL:
        raise MemoryError
    return bio


cdef bytes take_all(BIO* bio):
    """Return what was written into the bio, which ends."""
    cdef char* at = NULL
    cdef long length = BIO_get_mem_data(bio, &at)
    cdef bytes octets = at[:length] if length > 0 else b""
    BIO_free(bio)
    return octets


cdef int64_t unix_time(const ASN1_TIME* at) except? -1:
    cdef tm broken_down
    memset(&broken_down, 0, sizeof(tm))
    if ASN1_TIME_to_tm(at, &broken_down) != 1:
        raise PairError("the certificate has a date that cannot be read")
    return timegm(&broken_down)


cdef tuple names_of(X509* certificate):
    cdef GENERAL_NAMES* names = <GENERAL_NAMES*>X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL)
    cdef const ASN1_STRING* value
    cdef bytes octets
    cdef list found = []
    cdef int kind, i
    if names == NULL:
        return ()
    for i in range(sk_GENERAL_NAME_num(names)):
        value = <const ASN1_STRING*>GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &kind)
        if kind == GEN_DNS or kind == GEN_IPADD:
            octets = (<const char*>ASN1_STRING_get0_data(value))[:ASN1_STRING_length(value)]
            if kind == GEN_DNS:
                found.append(octets.decode("ascii", "backslashreplace"))
            elif len(octets) in (4, 16):
                found.append(str(ipaddress.ip_address(octets)))
    GENERAL_NAMES_free(names)
    return tuple(found)


cdef str name_text(const X509_NAME* name):
    cdef BIO* bio = BIO_new(BIO_s_mem())
    if bio == NULL:
        raise MemoryError
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB)
    return take_all(bio).decode("utf-8", "backslashreplace")


cdef str kind_of(const EVP_PKEY* key):
    """Return the kind and size of a key. PairError: clients cannot use it."""
    cdef int kind = EVP_PKEY_get_base_id(key)
    cdef int bits = EVP_PKEY_get_bits(key)
    cdef char[64] group
    cdef size_t length = 0
    if kind == EVP_PKEY_RSA or kind == EVP_PKEY_RSA_PSS:
        if bits < RSA_BITS_MIN:
            raise PairError(f"the certificate has an RSA key of {bits} bits; clients demand {RSA_BITS_MIN}")
        return f"RSA {bits}"
    if kind == EVP_PKEY_EC:
        curve = "?"
        if EVP_PKEY_get_group_name(key, group, sizeof(group), &length) == 1:
            curve = group[:length].decode("ascii", "replace")
        if curve not in CURVES:
            raise PairError(f"the certificate has a key on the curve {curve}; clients know P-256, P-384 and P-521")
        return f"ECDSA {CURVES[curve]}"
    if kind == EVP_PKEY_ED25519:
        return "Ed25519"
    if kind == EVP_PKEY_ED448:
        return "Ed448"
    raise PairError("the certificate has a key of a kind that clients do not know; use ECDSA P-256 or RSA")


cdef void check_key(bytes text, X509** chain, int count) except *:
    """Return if the key belongs to the first certificate of the chain. Else PairError."""
    cdef BIO* bio
    cdef EVP_PKEY* key
    cdef int i
    cdef int found = -1
    if b"ENCRYPTED" in text:
        raise PairError(
            "the key is encrypted; fastdns cannot ask for its password (openssl pkey -in OLD -out NEW removes it)",
            is_about_key=True,
        )
    if b"PRIVATE KEY-----" not in text:
        raise PairError("the key's file has no key in PEM form (-----BEGIN PRIVATE KEY-----)", is_about_key=True)
    bio = memory_of(text)
    key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL)
    BIO_free(bio)
    if key == NULL:
        raise PairError("the key is damaged", is_about_key=True)
    for i in range(count):
        if found < 0 and X509_check_private_key(chain[i], key) == 1:
            found = i
    EVP_PKEY_free(key)
    if found < 0:
        raise PairError("the key belongs to another certificate", is_about_key=True)
    if found > 0:
        raise PairError(
            f"the server's certificate is number {found + 1} in its file; it has to be the first, the issuers after it"
        )


cdef int read_chain(bytes text, X509** chain) except -1:
    """Read at most CHAIN_MAX certificates, which the caller frees, and return how many."""
    cdef BIO* bio = memory_of(text)
    cdef int count = 0
    cdef unsigned long code = 0
    while count < CHAIN_MAX:
        chain[count] = PEM_read_bio_X509(bio, NULL, no_password, NULL)
        if chain[count] == NULL:
            code = ERR_peek_last_error()
            break
        count += 1
    BIO_free(bio)
    if ERR_GET_LIB(code) == ERR_LIB_PEM and ERR_GET_REASON(code) == PEM_R_NO_START_LINE:
        code = 0        # the end
    if code or (count == 0 and b"-----BEGIN CERTIFICATE-----" in text):
        free_chain(chain, count)
        raise PairError("the certificate is damaged" if count == 0 else f"certificate number {count + 1} is damaged")
    if count == 0:
        if b"PRIVATE KEY-----" in text:
            raise PairError("the certificate's file has only a key in it; are the two files exchanged?")
        raise PairError("the certificate's file has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    return count


cdef void free_chain(X509** chain, int count) noexcept:
    cdef int i
    for i in range(count):
        X509_free(chain[i])


def read_pair(bytes chain not None, bytes key not None):
    """Return what the first certificate says. PairError, a ValueError: one line why a server cannot use the two.

    Its time is for the caller to judge.
    """
    cdef X509* certificates[CHAIN_MAX]
    cdef int count
    ERR_clear_error()
    try:
        count = read_chain(chain, certificates)
        try:
            check_key(key, certificates, count)
            return certificate_of(certificates[0], count)
        finally:
            free_chain(certificates, count)
    finally:
        ERR_clear_error()


def read_certificate(bytes chain not None):
    """Return what the first certificate says; `read_pair` without the key."""
    cdef X509* certificates[CHAIN_MAX]
    cdef int count
    ERR_clear_error()
    try:
        count = read_chain(chain, certificates)
        try:
            return certificate_of(certificates[0], count)
        finally:
            free_chain(certificates, count)
    finally:
        ERR_clear_error()


cdef Certificate certificate_of(X509* leaf, int length):
    cdef Certificate found = Certificate.__new__(Certificate)
    cdef EVP_PKEY* key = X509_get0_pubkey(leaf)
    cdef int security = 0
    if key == NULL:
        raise PairError("the certificate has a key of a kind that clients do not know; use ECDSA P-256 or RSA")
    found.key_kind = kind_of(key)
    found.is_self_signed = X509_self_signed(leaf, 0) == 1
    if not found.is_self_signed and X509_get_signature_info(leaf, NULL, NULL, &security, NULL) == 1 \
            and security < SECURITY_BITS_MIN:
        raise PairError("the certificate is signed with an algorithm that clients refuse, like SHA-1")
    found.names = names_of(leaf)
    found.not_before = unix_time(X509_get0_notBefore(leaf))
    found.not_after = unix_time(X509_get0_notAfter(leaf))
    found.issuer = name_text(X509_get_issuer_name(leaf))
    found.length = length
    return found


# ---- a pair of our own


def checked_name(str name not None):
    """Return "DNS:name" or "IP:address". ValueError: it is neither."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        labels = name.rstrip(".").removeprefix("*.").split(".")
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{name!r} is neither a domain name nor an address")
    return f"DNS:{name.rstrip('.')}"


def make_self_signed(names, int days, *, now=None):
    """Return a certificate for these domains and addresses, and its key: ECDSA P-256, both in PEM.

    It is valid for `days` from `now` (Unix; None: the clock's). ValueError: a name that is none, or wrong days.
    """
    cdef list known = [checked_name(name) for name in names]
    cdef EVP_PKEY* key
    cdef X509* certificate
    cdef bytes chain
    if not known:
        raise ValueError("a certificate needs a name")
    if not 1 <= days <= DAYS_MAX:
        raise ValueError(f"{days} days: a certificate lives for 1 to {DAYS_MAX}")
    ERR_clear_error()
    key = EVP_EC_gen("P-256")
    certificate = X509_new()
    try:
        if key == NULL or certificate == NULL:
            raise MemoryError
        fill(certificate, key, known, days, <time_t>(time.time() if now is None else now))
        chain = written(certificate, NULL)
        return chain, written(NULL, key)
    finally:
        X509_free(certificate)
        EVP_PKEY_free(key)
        ERR_clear_error()


cdef void fill(X509* certificate, EVP_PKEY* key, list names, int days, time_t now) except *:
    cdef X509_NAME* subject = X509_get_subject_name(certificate)
    cdef bytes first = names[0].partition(":")[2].encode()
    cdef uint64_t serial
    cdef bint is_done
    if RAND_bytes(<unsigned char*>&serial, sizeof(serial)) != 1:
        raise OSError("libcrypto gives no random bytes")
    is_done = (
        X509_set_version(certificate, 2) == 1       # version 3
        and ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) == 1
        and X509_time_adj_ex(X509_getm_notBefore(certificate), 0, -EARLIER, &now) != NULL
        and X509_time_adj_ex(X509_getm_notAfter(certificate), days, 0, &now) != NULL
        and X509_NAME_add_entry_by_txt(     # at most 64 octets; clients look at the other names only
            subject, "CN", MBSTRING_UTF8, first if len(first) <= 64 else b"fastdns", -1, -1, 0
        ) == 1
        and X509_set_issuer_name(certificate, subject) == 1
        and X509_set_pubkey(certificate, key) == 1
    )
    # No authority: a key that lies on a name server must not be able to vouch for other names.
    for number, value in (
        (NID_basic_constraints, "critical,CA:FALSE"),
        (NID_key_usage, "critical,digitalSignature"),
        (NID_ext_key_usage, "serverAuth"),
        (NID_subject_alt_name, ",".join(names)),
        (NID_subject_key_identifier, "hash"),
    ):
        is_done = is_done and extend(certificate, number, value.encode())
    if not is_done or X509_sign(certificate, key, EVP_sha256()) == 0:
        raise ValueError("libcrypto cannot make this certificate")


cdef bint extend(X509* certificate, int number, bytes value) except -1:
    cdef X509V3_CTX context
    cdef X509_EXTENSION* extension
    cdef bint is_done
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0)
    X509V3_set_ctx_nodb(&context)
    extension = X509V3_EXT_conf_nid(NULL, &context, number, value)
    is_done = extension != NULL and X509_add_ext(certificate, extension, -1) == 1
    X509_EXTENSION_free(extension)
    return is_done


cdef bytes written(X509* certificate, EVP_PKEY* key):
    """Return one of the two in PEM."""
    cdef BIO* bio = BIO_new(BIO_s_mem())
    cdef bint is_done
    if bio == NULL:
        raise MemoryError
    if certificate != NULL:
        is_done = PEM_write_bio_X509(bio, certificate) == 1
    else:
        is_done = PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1
    if not is_done:
        BIO_free(bio)
        raise MemoryError
    return take_all(bio)
