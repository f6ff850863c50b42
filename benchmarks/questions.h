/* The names that load.c and load_stream.c ask for, and the packets that ask for them.

   A name is a number. From 0 to names - 1 they are chosen at random, in turn, or as Zipf has it; those beyond are fresh:
   each is asked once. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEADER = 12,
    LONGEST_NAME = 255,
    LONGEST_QUESTION = LONGEST_NAME + 4,
    LONGEST_QUERY = HEADER + LONGEST_QUESTION + 11,
};

extern struct questions {
    uint32_t names, first;
    const char *prefix, *domain, *file;
    int digits;
    bool in_turn, edns;
    double zipf;     /* the exponent; 0: all names alike */
    unsigned fresh;  /* this many of 100 queries are for fresh names */
    uint64_t seed;
} questions;

#define QUESTION_OPTIONS                                                                                         \
    {"names", 1, 0, 'n'}, {"first", 1, 0, 'f'}, {"prefix", 1, 0, 'p'}, {"digits", 1, 0, 'd'}, {"domain", 1, 0, 'D'}, \
        {"file", 1, 0, 'F'}, {"sequential", 0, 0, 'S'}, {"zipf", 1, 0, 'z'}, {"fresh", 1, 0, 'y'},               \
        {"no-edns", 0, 0, 'E'}, {"seed", 1, 0, 'x'}
#define QUESTION_USAGE                                                     \
    "  [--file NAMES | --prefix h --first N --names N --digits N --domain bench.demo]\n" \
    "  [--sequential | --zipf EXPONENT] [--fresh PERCENT] [--no-edns] [--seed N]"

/* Take an option of QUESTION_OPTIONS; false: it is none. */
bool question_option(int which, const char *name, const char *value);

/* Write the text `name` as labels to `wire` (LONGEST_NAME octets); return the size with the root label. */
size_t encode_name(const char *name, uint8_t *wire);

/* Check the options and make ready; to be called once, before the functions below. */
void prepare_questions(void);

uint64_t random_number(void);

/* The name to ask for next. */
uint32_t choose_name(void);

/* Write name, type A and class IN to p (LONGEST_QUESTION octets); return their size. */
size_t write_question(uint8_t *p, uint32_t name);

/* Write a query to p (LONGEST_QUERY octets); return its size. */
size_t write_query(uint8_t *p, uint16_t id, uint32_t name);
