/*
 * load_text.c - see load_text.h.
 */
#include "load_text.h"

#include <stdbool.h>
#include <string.h>

#include "util.h"

#define POOL_MIN    ((size_t)4 << 20)
#define VOCABULARY  1500
#define WORD_MAX    12
#define LINE_LENGTH 72

static char *pool;
static size_t pool_size;
static size_t *line_starts;
static size_t usable_lines; /* those with max_body bytes after them */

static char vocabulary[VOCABULARY][WORD_MAX + 1];
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static size_t
pick(size_t below)
{
	return (size_t)(util_random(&random_state) % below);
}

static void
make_vocabulary(void)
{
	static const char vowels[] = "aaeeeiiou", consonants[] = "bcdfghklmnnprrssttvw";

	for (size_t w = 0; w < VOCABULARY; w++) {
		size_t len = 2 + pick(4) + pick(WORD_MAX - 5);

		for (size_t i = 0; i < len; i++)
			vocabulary[w][i] = (i + w) % 2 ? vowels[pick(sizeof vowels - 1)]
						       : consonants[pick(sizeof consonants - 1)];
	}
}

static size_t
add_token(char *out)
{
	static const char digits[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	size_t len = 8 + pick(16);

	for (size_t i = 0; i < len; i++)
		out[i] = digits[pick(sizeof digits - 1)];
	return len;
}

/* Low word numbers are far more frequent, roughly as in natural language. */
static size_t
add_word(char *out)
{
	double share = util_random_share(&random_state);
	const char *word = vocabulary[(size_t)(share * share * share * share * VOCABULARY)];
	size_t len = strlen(word);

	memcpy(out, word, len);
	return len;
}

/* One line with its CRLF; at most LINE_LENGTH + 40 bytes. Returns its length. */
static size_t
add_line(char *out)
{
	size_t len = 0, want = pick(8) == 0 ? pick(LINE_LENGTH) : LINE_LENGTH;

	if (pick(6) == 0) {
		memcpy(out, "> ", 2);
		len = 2;
	}
	while (len < want) {
		len += pick(40) == 0 ? add_token(out + len) : add_word(out + len);
		if (pick(12) == 0)
			out[len++] = pick(2) ? ',' : '.';
		out[len++] = ' ';
	}
	memcpy(out + len, "\r\n", 2);
	return len + 2;
}

void
load_text_init(size_t max_body)
{
	size_t size = max_body * 2 > POOL_MIN ? max_body * 2 : POOL_MIN, lines = 0;

	make_vocabulary();
	pool = util_alloc(size + 256, 1);
	line_starts = util_alloc(size / 2, sizeof *line_starts);
	while (pool_size < size) {
		line_starts[lines++] = pool_size;
		pool_size += add_line(pool + pool_size);
		if (line_starts[lines - 1] + max_body <= size)
			usable_lines = lines;
	}
}

const char *
load_text_slice(uint64_t seq, size_t *len)
{
	/* Fibonacci hashing: neighbours in number are far apart in the pool. */
	size_t line = (size_t)((seq * UINT64_C(0x9e3779b97f4a7c15)) >> 20) % usable_lines;
	const char *start = pool + line_starts[line];

	if (*len > 0 && start[*len - 1] == '\r')
		--*len;
	return start;
}
