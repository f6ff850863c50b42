/* See questions.h. */
#include "questions.h"
#include "measure.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct questions questions = {
    .names = 10000, .prefix = "h", .domain = "bench.demo", .digits = 5, .edns = true, .seed = 88172645463325252,
};

static uint8_t domain_wire[LONGEST_NAME];
static size_t domain_size;
static uint8_t *file_names;    /* wire form, one behind the other */
static uint32_t *file_offsets; /* questions.names + 1 of them */
static uint32_t next_name, next_fresh;

/* Walker's alias method: column i is its own name with chance own[i], else other[i]. */
static double *own;
static uint32_t *other;

bool question_option(int which, const char *name, const char *value)
{
    char *end;
    switch (which) {
    case 'n': questions.names = (uint32_t)number(name, value, 1, 1000000000); return true;
    case 'f': questions.first = (uint32_t)number(name, value, 0, 1000000000); return true;
    case 'p': questions.prefix = value; return true;
    case 'd': questions.digits = (int)number(name, value, 1, 10); return true;
    case 'D': questions.domain = value; return true;
    case 'F': questions.file = value; return true;
    case 'S': questions.in_turn = true; return true;
    case 'E': questions.edns = false; return true;
    case 'x': questions.seed = number(name, value, 1, UINT64_MAX); return true;
    case 'y': questions.fresh = (unsigned)number(name, value, 0, 100); return true;
    case 'z':
        questions.zipf = strtod(value, &end);
        if (*end || !(questions.zipf > 0 && questions.zipf <= 4))
            fail("--zipf %s: must be above 0 and at most 4", value);
        return true;
    default: return false;
    }
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

uint64_t random_number(void) /* xorshift64* */
{
    questions.seed ^= questions.seed >> 12;
    questions.seed ^= questions.seed << 25;
    questions.seed ^= questions.seed >> 27;
    return questions.seed * 2685821657736338717u;
}

static uint32_t random_below(uint32_t most)
{
    return (uint32_t)((random_number() >> 32) * most >> 32);
}

/* ---- Zipf ---- */

static void prepare_zipf(void)
{
    uint32_t count = questions.names, few = 0, many = count;
    double sum = 0;
    own = allocate(count, sizeof *own);
    other = allocate(count, sizeof *other);
    uint32_t *columns = allocate(count, sizeof *columns); /* first those under 1, last those above */
    for (uint32_t i = 0; i < count; i++)
        sum += own[i] = pow(i + 1.0, -questions.zipf);
    for (uint32_t i = 0; i < count; i++) {
        own[i] *= count / sum;
        columns[own[i] < 1 ? few++ : --many] = i;
    }
    while (few > 0 && many < count) {
        uint32_t small = columns[--few], large = columns[many];
        other[small] = large;
        own[large] -= 1 - own[small];
        if (own[large] < 1) {
            columns[few++] = large;
            many++;
        }
    }
    while (few > 0) /* what rounding has left over */
        own[columns[--few]] = 1;
    free(columns);
}

static uint32_t choose_by_zipf(void)
{
    uint32_t column = random_below(questions.names);
    return (double)(random_number() >> 11) * 0x1p-53 < own[column] ? column : other[column];
}

uint32_t choose_name(void)
{
    if (questions.fresh && random_below(100) < questions.fresh)
        return questions.names + next_fresh++;
    if (questions.zipf > 0)
        return choose_by_zipf();
    if (!questions.in_turn)
        return random_below(questions.names);
    uint32_t name = next_name++;
    if (next_name == questions.names)
        next_name = 0;
    return name;
}

/* ---- names and packets ---- */

size_t encode_name(const char *name, uint8_t *wire)
{
    size_t size = 0;
    while (*name && strcmp(name, ".") != 0) {
        size_t label = strcspn(name, ".");
        if (label == 0 || label > 63 || size + 1 + label + 1 > LONGEST_NAME)
            fail("not a domain name: %s", name);
        wire[size++] = (uint8_t)label;
        memcpy(wire + size, name, label);
        size += label;
        name += label + (name[label] == '.');
    }
    wire[size++] = 0;
    return size;
}

static void read_names(void)
{
    FILE *f = fopen(questions.file, "r");
    if (!f)
        fail("%s: %s", questions.file, strerror(errno));
    size_t used = 0;
    uint32_t count = 0;
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, " \t\r\n")] = 0;
        if (!line[0] || line[0] == '#')
            continue;
        file_names = realloc(file_names, used + LONGEST_NAME);
        file_offsets = realloc(file_offsets, (count + 2) * sizeof *file_offsets);
        if (!file_names || !file_offsets)
            fail("out of memory");
        file_offsets[count++] = (uint32_t)used;
        used += encode_name(line, file_names + used);
        file_offsets[count] = (uint32_t)used;
    }
    fclose(f);
    if (count == 0)
        fail("%s: no names", questions.file);
    questions.names = count;
}

void prepare_questions(void)
{
    if (strlen(questions.prefix) + (size_t)questions.digits > 63)
        fail("--prefix %s: too long", questions.prefix);
    domain_size = encode_name(questions.domain, domain_wire);
    if (domain_size + 64 > LONGEST_NAME)
        fail("--domain %s: too long", questions.domain);
    if (questions.file && questions.fresh)
        fail("--file and --fresh exclude each other");
    if (questions.file)
        read_names();
    if (questions.zipf > 0)
        prepare_zipf();
}

size_t write_question(uint8_t *p, uint32_t name)
{
    size_t size;
    if (file_names) {
        size = file_offsets[name + 1] - file_offsets[name];
        memcpy(p, file_names + file_offsets[name], size);
    } else {
        size_t prefix = strlen(questions.prefix), label = prefix + (size_t)questions.digits;
        p[0] = (uint8_t)label;
        memcpy(p + 1, questions.prefix, prefix);
        uint32_t rest = questions.first + name;
        for (size_t i = label; i > prefix; i--, rest /= 10)
            p[i] = (uint8_t)('0' + rest % 10);
        memcpy(p + 1 + label, domain_wire, domain_size);
        size = 1 + label + domain_size;
    }
    memcpy(p + size, "\0\1\0\1", 4);
    return size + 4;
}

size_t write_query(uint8_t *p, uint16_t id, uint32_t name)
{
    static const uint8_t opt[11] = {0, 0, 41, 1232 >> 8, 1232 & 255};
    const uint8_t header[HEADER] = {
        (uint8_t)(id >> 8), (uint8_t)id, 1 /* RD */, 0, 0, 1, 0, 0, 0, 0, 0, questions.edns,
    };
    memcpy(p, header, HEADER);
    size_t size = HEADER + write_question(p + HEADER, name);
    if (questions.edns) {
        memcpy(p + size, opt, sizeof opt);
        size += sizeof opt;
    }
    return size;
}
