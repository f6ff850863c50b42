"""Bounds-checked reading of DNS messages (RFC 1035 section 4): only this module moves a pointer over packet bytes."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastdns._key cimport NAME_MAX, Key

cdef enum WireStatus:
    WIRE_OK = 0
    WIRE_DROP = -1          # cannot be answered
    WIRE_FORMERR = -2       # answer FORMERR
    WIRE_NOTIMP = -3        # answer NOTIMP: an opcode other than QUERY
    WIRE_BADVERS = -4       # answer BADVERS: an EDNS version other than 0 (RFC 6891 section 6.1.3)
    WIRE_REFUSED = -5       # answer REFUSED: a transfer, a meta type, class NONE or ANY
    WIRE_BAD_REPLY = -6     # not a reply to this question: the true one may still come
    WIRE_SPOILED_REPLY = -7     # a reply to this question whose content must not be used
    WIRE_COOKIE_ONLY = -8   # answer NOERROR: no question, only a cookie is wanted (RFC 7873 section 5.4)

cdef enum:
    HEADER_LENGTH = 12
    RECORDS_MAX = 5957      # records of 11 octets that 65,535 octets can hold
    CHAIN_MAX = 64          # names on a CNAME chain; a longer one is a loop or an attack
    ADDRESSES_MAX = 128     # that are noted for an answer
    TARGETS_MAX = 128       # names to which records in the additional section may belong
    UDP_SIZE_MIN = 512      # RFC 1035 section 2.3.4
    UDP_SIZE_MAX = 1232     # never fragmented on an IPv6 path (DNS flag day 2020)
    COOKIE_OCTETS = 24      # as we send it: 8 of the client, 16 of ours (RFC 9018 section 4)

cdef enum HeaderFlags:
    FLAG_QR = 0x8000
    FLAG_OPCODE = 0x7800
    FLAG_AA = 0x0400
    FLAG_TC = 0x0200
    FLAG_RD = 0x0100
    FLAG_RA = 0x0080
    FLAG_AD = 0x0020
    FLAG_CD = 0x0010
    FLAG_RCODE = 0x000f

cdef enum RecordType:
    TYPE_A = 1
    TYPE_NS = 2
    TYPE_CNAME = 5
    TYPE_SOA = 6
    TYPE_AAAA = 28
    TYPE_DNAME = 39
    TYPE_OPT = 41
    TYPE_RRSIG = 46
    TYPE_NSEC = 47
    TYPE_NSEC3 = 50
    TYPE_SVCB = 64
    TYPE_HTTPS = 65
    TYPE_ANY = 255

cdef enum SvcParamKey:      # RFC 9460 section 14.3.2
    HINT_V4 = 4
    HINT_V6 = 6

cdef enum RecordClass:
    CLASS_IN = 1
    CLASS_CHAOS = 3

ctypedef struct Asked:      # of a question, and the limits of its answer
    uint16_t id
    uint16_t flags          # of the header, as received
    uint16_t length         # octets of the question after the header; 0: it could not be read
    uint16_t udp_size       # the largest answer over UDP: UDP_SIZE_MIN to UDP_SIZE_MAX
    uint8_t has_opt
    uint8_t dnssec_ok
    uint8_t cookie_length   # of the client's COOKIE option: 8, or 16 to 40; 0: there is none
    uint8_t has_cookie      # the answer gets one, which _cookies makes
    uint16_t cookie_at      # the client's, in the message
    uint16_t pad_to         # the response over TLS gets a multiple of so many octets; 0: it is not padded
    uint16_t keepalive      # how long its connection may be idle, in units of 100 ms; 0: the client is not told
    uint8_t has_padding     # the client has padded its query (RFC 7830)
    uint8_t has_keepalive   # the client asks how long (RFC 7828)
    uint8_t cookie[COOKIE_OCTETS]

ctypedef struct Reply:
    uint16_t flags
    uint16_t rcode          # with the upper octet that OPT carries (RFC 6891 section 6.1.3)
    uint16_t length         # octets up to the end of the last record that is kept
    uint16_t ttl_count
    uint16_t answers        # records that are kept, by section, without OPT
    uint16_t authorities
    uint16_t additional
    uint16_t soa_ttl_at     # the position of the TTL of the first SOA in the authority section; 0: none
    uint32_t soa_minimum    # its MINIMUM (RFC 2308 section 4)
    uint16_t options_at     # the RDATA of OPT
    uint16_t options_length
    bint has_opt            # in the additional section, where it must be
    bint wants_dnssec       # the question has DO
    bint opt_misplaced      # in another one: the upstream does not know OPT
    bint has_data           # a record of the type that was asked for
    bint has_gap            # something was left out so far, perhaps only the OPT
    bint left_out           # something other than one OPT was
    bint must_rewrite       # something before the end is left out, or the answer is not in the order of its chain
    bint is_bare            # an error that does not repeat the question
    bint is_echo            # our own query

ctypedef struct Reader:
    const uint8_t* start    # of the message: the base of compression pointers
    const uint8_t* at
    const uint8_t* end

ctypedef struct Name:       # in lower case unless stated otherwise
    uint16_t length
    uint8_t octets[NAME_MAX + 1]

ctypedef struct Record:
    Name owner
    uint16_t rtype
    uint16_t rclass
    uint16_t ttl_at
    uint16_t length         # of the RDATA
    const uint8_t* data

ctypedef struct Chain:      # the names whose records belong to the answer
    int count
    bint is_dname[CHAIN_MAX]
    Name names[CHAIN_MAX]

ctypedef struct Findings:   # what policy looks at in an answer
    Chain chain             # from the queried name on
    # of A and AAAA records of the chain, and in its SVCB and HTTPS records: more than ADDRESSES_MAX are not all noted
    int addresses
    bint has_private        # one of them all, noted or not, is private or local
    bint has_bad_hints      # the parameters of an SVCB or HTTPS record cannot be read
    uint8_t address[ADDRESSES_MAX][16]      # IPv4 as ::ffff:a.b.c.d

ctypedef struct Targets:    # names in RDATA: owners of records in the additional section
    int count
    uint64_t hashes[TARGETS_MAX]

ctypedef struct Layout:     # the positions of names in the RDATA of a type
    int before              # octets before the names
    int strings             # character-strings after those
    int names
    int after               # octets after the names; -1: any number
    bint compressible       # RFC 3597 section 4: senders may compress these names, others not

cdef int read_query(const uint8_t* packet, size_t length, Asked* out, Key* key) noexcept nogil     # 0 or a WireStatus
cdef int read_question(const uint8_t* packet, size_t length, Asked* out, Key* key) noexcept nogil
# ^ the same from header and question alone, without making the key; has_opt if an OPT follows directly
cdef int read_reply(
    const uint8_t* packet, size_t length, uint16_t expected_id, const uint8_t* key, uint16_t key_length,
    Reply* out, uint16_t* ttl_at, Findings* findings,
) noexcept nogil            # 0, WIRE_BAD_REPLY or WIRE_SPOILED_REPLY; ttl_at has room for RECORDS_MAX
cdef bint find_in_answer(
    const uint8_t* message, size_t length, const uint8_t* key, uint16_t key_length, Findings* findings
) noexcept nogil            # the same of a cached answer; False: it cannot be read
cdef bint has_data(
    const uint8_t* message, size_t length, const uint8_t* key, uint16_t key_length
) noexcept nogil            # a cached answer has a record of the type that was asked for
cdef size_t fitting_length(const uint8_t* message, size_t length, size_t room, uint16_t* authorities) noexcept nogil
# ^ how much of a message of ours fits: without the additional section, else also without authority; 0: not even the
# essential part, which is the answer section, and a denial with its proof in authority (RFC 4035 section 3.1.3).
# authorities: how many records of that section are in it
cdef int64_t smallest_ttl(const uint8_t* response, size_t length) noexcept nogil
# ^ for how long a response of ours may be kept (RFC 8484 section 5.1): the smallest TTL in its answer and authority
# section, and not above the MINIMUM of an SOA there; -1: it has no record there, or it is a failure or truncated
cdef uint16_t find_option(
    const uint8_t* options, uint16_t length, uint16_t code, uint16_t* value_at
) noexcept nogil            # the length of the first option of that code, its place in value_at; 0: absent

# for _rewrite, _scrub and _hints
cdef int read_name(Reader* r, Name* out) noexcept nogil             # 0, or -1
cdef int read_spelled_name(Reader* r, Name* out) noexcept nogil     # the same, without changing the case of letters
cdef int read_record(Reader* r, Record* out) noexcept nogil         # 0, or -1: it is not completely inside the message
cdef bint layout_of(uint16_t rtype, Layout* out) noexcept nogil     # False: this type has no names that are known here
cdef bint rdata_is_sound(const Reader* message, const Record* record, Name* last) noexcept nogil
# ^ last: the last name in it; of length 0 if there is none
cdef bint is_meta(uint16_t rtype) noexcept nogil                    # not data: OPT, TSIG and the like
cdef bint is_under(const Name* name, const uint8_t* suffix, uint16_t length) noexcept nogil
cdef bint same_name(const Name* one, const Name* other) noexcept nogil
cdef uint64_t hash_name(const Name* name) noexcept nogil
cdef bint is_of_chain_authority(const Chain* chain, const Record* record) noexcept nogil
# ^ a record of the authority section that concerns a name of the chain
cdef bint is_targeted(const Targets* targets, const Chain* chain, const Name* owner) noexcept nogil
cdef void note_target(Targets* targets, const Record* record, const Name* last) noexcept nogil

cdef inline uint16_t load16(const uint8_t* at) noexcept nogil:
    return <uint16_t>((<uint16_t>at[0] << 8) | at[1])

cdef inline uint32_t load32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]

cdef inline uint64_t load64(const uint8_t* at) noexcept nogil:
    return <uint64_t>load32(at) << 32 | load32(at + 4)

cdef inline void store16(uint8_t* at, uint16_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value

cdef inline void store32(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 24)
    at[1] = <uint8_t>(value >> 16)
    at[2] = <uint8_t>(value >> 8)
    at[3] = <uint8_t>value
