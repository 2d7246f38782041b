/*
 * conf_level.c - compatibility levels: see conf_level.h.
 */
#include "conf/conf_level.h"

#define PARTS     3
#define PART_BITS 20

bool
conf_level_parse(struct span text, int64_t *ret_level)
{
	struct span rest = span_trim(text);
	int64_t level = 0;
	bool ended = false;

	for (int part = 0; part < PARTS; part++) {
		uint64_t number = 0;

		/* "3" is "3.0.0"; but "3." is a mistake. */
		if (!ended) {
			size_t dot = span_find(rest, '.');

			if (!span_number(span_head(rest, dot), (1u << PART_BITS) - 1, &number))
				return false;
			ended = dot == rest.len;
			rest = span_from(rest, dot + 1);
		}
		level = level << PART_BITS | (int64_t)number;
	}
	if (!ended)
		return false;
	*ret_level = level;
	return true;
}
