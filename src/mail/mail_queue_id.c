/*
 * mail_queue_id.c - see mail_queue_id.h. The alphabets are those of Postfix: no vowels, so that ids spell no words; base
 * 51 lacks the 'z' that separates the parts.
 */
#include "mail/mail_queue_id.h"

static const char mail_queue_id_alphabet[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";

#define MAIL_QUEUE_ID_BASE       52
#define MAIL_QUEUE_ID_BASE_INODE 51
#define MAIL_QUEUE_ID_SECONDS    6 /* characters at least */
#define MAIL_QUEUE_ID_USEC       4
#define MAIL_QUEUE_ID_LOOK_MAX   255 /* longest name that Postfix takes */

int64_t
mail_queue_id_make(int64_t real_us, unsigned process)
{
	int64_t since = real_us - MAIL_QUEUE_ID_EPOCH * 1000000;

	MUST(since >= 0 && since < INT64_MAX / MAIL_QUEUE_ID_PROCESS);
	MUST(process < MAIL_QUEUE_ID_PROCESS);
	return since * MAIL_QUEUE_ID_PROCESS + process;
}

int64_t
mail_queue_id_time(int64_t msg_id)
{
	return msg_id / MAIL_QUEUE_ID_PROCESS + MAIL_QUEUE_ID_EPOCH * 1000000;
}

unsigned
mail_queue_id_process(int64_t msg_id)
{
	return (unsigned)(msg_id % MAIL_QUEUE_ID_PROCESS);
}

/* Writes `value` with at least `width` digits; returns where the next byte goes. */
static char *
mail_queue_id_digits(char *out, uint64_t value, unsigned base, size_t width)
{
	char digits[16];
	size_t n = 0;

	while (value != 0 || n < width) {
		digits[n++] = mail_queue_id_alphabet[value % base];
		value /= base;
	}
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

void
mail_queue_id_format(int64_t msg_id, char ret[MAIL_QUEUE_ID_SIZE])
{
	int64_t us = mail_queue_id_time(msg_id);
	char *p = ret;

	MUST(msg_id >= 0);
	p = mail_queue_id_digits(
	    p, (uint64_t)us / 1000000, MAIL_QUEUE_ID_BASE, MAIL_QUEUE_ID_SECONDS);
	p = mail_queue_id_digits(p, (uint64_t)us % 1000000, MAIL_QUEUE_ID_BASE, MAIL_QUEUE_ID_USEC);
	*p++ = 'z';
	p = mail_queue_id_digits(p, mail_queue_id_process(msg_id) + 1, MAIL_QUEUE_ID_BASE_INODE, 1);
	*p = '\0';
}

/* A number without sign in the digits of `s`; false on a foreign byte or when it does not fit into 63 bits. */
static bool
mail_queue_id_number(struct span s, unsigned base, int64_t *ret)
{
	int64_t value = 0;

	for (size_t i = 0; i < s.len; i++) {
		const char *digit = memchr(mail_queue_id_alphabet, s.ptr[i], base);

		if (digit == NULL || __builtin_mul_overflow(value, (int64_t)base, &value) ||
		    __builtin_add_overflow(value, digit - mail_queue_id_alphabet, &value))
			return false;
	}
	*ret = value;
	return s.len != 0;
}

bool
mail_queue_id_parse(struct span text, int64_t *ret_msg_id)
{
	const size_t fixed = MAIL_QUEUE_ID_SECONDS + MAIL_QUEUE_ID_USEC;
	char again[MAIL_QUEUE_ID_SIZE];
	size_t z = span_find_last(text, 'z');
	int64_t second, usec, process, since, id;

	if (text.len >= MAIL_QUEUE_ID_SIZE || z == text.len || z < fixed)
		return false;
	if (!mail_queue_id_number(
		span_head(text, z - MAIL_QUEUE_ID_USEC), MAIL_QUEUE_ID_BASE, &second) ||
	    !mail_queue_id_number(span_of(text.ptr + z - MAIL_QUEUE_ID_USEC, MAIL_QUEUE_ID_USEC),
		MAIL_QUEUE_ID_BASE, &usec) ||
	    !mail_queue_id_number(span_from(text, z + 1), MAIL_QUEUE_ID_BASE_INODE, &process))
		return false;
	if (usec >= 1000000 || process < 1 || process > MAIL_QUEUE_ID_PROCESS ||
	    second < MAIL_QUEUE_ID_EPOCH)
		return false;
	if (__builtin_mul_overflow(second - MAIL_QUEUE_ID_EPOCH, INT64_C(1000000), &since) ||
	    __builtin_add_overflow(since, usec, &since) ||
	    __builtin_mul_overflow(since, (int64_t)MAIL_QUEUE_ID_PROCESS, &id) ||
	    __builtin_add_overflow(id, process - 1, &id))
		return false;
	/* leading zeros would give a message a second name */
	mail_queue_id_format(id, again);
	if (!span_equal_str(text, again))
		return false;
	*ret_msg_id = id;
	return true;
}

bool
mail_queue_id_looks_valid(struct span text)
{
	if (text.len == 0 || text.len > MAIL_QUEUE_ID_LOOK_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
		    c != '_')
			return false;
	}
	return true;
}
