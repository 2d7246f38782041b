/*
 * conf_param.c - the table of params.def as an array, and finding rows by name.
 */
#include "conf/conf_param.h"

#include "base/hmap.h"
#include "base/mem.h"

#define NAME_MAX_LEN 80 /* longer than any name of the table; for spelling distances */

/* clang-format off */
#define STATUS_SAME       CONF_SAME, 0
#define STATUS_DIFFERS(n) CONF_DIFFERS, n
#define STATUS_BUILTIN    CONF_BUILTIN, 0
#define STATUS_NOTYET     CONF_NOTYET, 0
#define STATUS_OWN        CONF_OWN, 0
#define ROW(id, def, values, lo, hi, type, status, text) \
	{#id, def, values, text, lo, hi, type, STATUS_##status},
#define CONF_STR(id, def, status, text)          ROW(id, def, NULL, 0, 0, CONF_TYPE_STR, status, text)
#define CONF_RAW(id, def, status, text)          ROW(id, def, NULL, 0, 0, CONF_TYPE_RAW, status, text)
#define CONF_ENUM(id, def, values, status, text) ROW(id, def, values, 0, 0, CONF_TYPE_ENUM, status, text)
#define CONF_SET(id, def, values, status, text)  ROW(id, def, values, 0, 0, CONF_TYPE_SET, status, text)
#define CONF_BOOL(id, def, status, text)         ROW(id, def, NULL, 0, 0, CONF_TYPE_BOOL, status, text)
#define CONF_INT(id, def, lo, hi, status, text)  ROW(id, def, NULL, lo, hi, CONF_TYPE_INT, status, text)
#define CONF_TIME(id, def, lo, hi, status, text) ROW(id, def, NULL, lo, hi, CONF_TYPE_TIME, status, text)
/* clang-format on */
static const struct conf_param_info table[CONF_COUNT] = {
#include "conf/params.def"
};

const struct conf_param_info *
conf_param_info(enum conf_param p)
{
	MUST(p < CONF_COUNT);
	return &table[p];
}

bool
conf_param_find(struct span name, enum conf_param *ret_param)
{
	static struct hmap names;

	if (names.count == 0)
		for (size_t i = 0; i < CONF_COUNT; i++)
			MUST(hmap_put(&names, span_str(table[i].name),
				 (void *)(uintptr_t)&table[i]) == NULL);
	const struct conf_param_info *info = hmap_get(&names, name);
	if (info == NULL)
		return false;
	*ret_param = (enum conf_param)(info - table);
	return true;
}

/*
 * Letters to insert, delete, replace or swap to get from `a` to `b`; stops counting when it must exceed `limit`.
 */
static size_t
distance(struct span a, struct span b, size_t limit)
{
	size_t rows[3][NAME_MAX_LEN + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];

	if (a.len > NAME_MAX_LEN || b.len > NAME_MAX_LEN || a.len > b.len + limit ||
	    b.len > a.len + limit)
		return limit + 1;
	for (size_t j = 0; j <= b.len; j++)
		last[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			size_t best = last[j - 1] + (a.ptr[i - 1] != b.ptr[j - 1]);

			best = MIN(best, MIN(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] &&
			    a.ptr[i - 2] == b.ptr[j - 1])
				best = MIN(best, before[j - 2] + 1);
			row[j] = best;
		}
		size_t *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b.len];
}

const char *
conf_param_nearest(struct span name)
{
	size_t best = MIN(name.len / 4 + 1, 4) + 1;
	const char *nearest = NULL;

	for (size_t i = 0; i < CONF_COUNT; i++) {
		size_t d = distance(name, span_str(table[i].name), best - 1);

		if (d < best) {
			best = d;
			nearest = table[i].name;
		}
	}
	return nearest;
}

const char *
conf_param_status_name(enum conf_status status)
{
	switch (status) {
	case CONF_SAME:
		return "same";
	case CONF_DIFFERS:
		return "differs";
	case CONF_BUILTIN:
		return "built in";
	case CONF_NOTYET:
		return "not yet";
	case CONF_OWN:
		return "own";
	}
	UNREACHED();
}

char
conf_param_unit(const struct conf_param_info *info)
{
	struct span def = span_str(info->def);
	char last = def.len > 0 ? def.ptr[def.len - 1] : 's';
	char before = def.len > 1 ? def.ptr[def.len - 2] : ' ';

	/* "300s" and "${stress?{10}:{300}}s", but not "$other_parameters"; "5ms" counts in seconds. */
	if (strchr("smhdw", last) != NULL && strchr("0123456789}", before) != NULL)
		return last;
	return 's';
}
