/*
 * conf_value.c - parsing values: see conf_value.h.
 */
#include "conf/conf_value.h"

#include <ctype.h>

#include "base/clock.h"

#define SEPARATORS ", \t\r\n\v\f"

static bool
number_parse(struct span text, int64_t *ret)
{
	uint64_t n;
	bool negative = text.len > 0 && text.ptr[0] == '-';

	if (text.len > 0 && (negative || text.ptr[0] == '+'))
		text = span_from(text, 1);
	if (!span_number(text, INT64_MAX, &n))
		return false;
	*ret = negative ? -(int64_t)n : (int64_t)n;
	return true;
}

bool
conf_value_time(struct span text, char unit, int64_t *ret_us)
{
	static const struct {
		char unit;
		int64_t us;
	} units[] = {{'s', CLOCK_SECOND}, {'m', 60 * CLOCK_SECOND}, {'h', 3600 * CLOCK_SECOND},
	    {'d', 86400 * CLOCK_SECOND}, {'w', 7 * 86400 * CLOCK_SECOND}};
	uint64_t n;

	if (span_ends_nocase(text, "ms")) {
		if (!span_number(span_head(text, text.len - 2), INT32_MAX, &n))
			return false;
		*ret_us = (int64_t)n * CLOCK_MILLI;
		return true;
	}
	if (text.len > 0 && isalpha((unsigned char)text.ptr[text.len - 1])) {
		unit = (char)tolower((unsigned char)text.ptr[text.len - 1]);
		text = span_head(text, text.len - 1);
	}
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		/* As in Postfix the result fits an int of seconds. */
		if (units[i].unit != unit || !span_number(text, INT32_MAX, &n) ||
		    (int64_t)n > INT32_MAX * CLOCK_SECOND / units[i].us)
			continue;
		*ret_us = (int64_t)n * units[i].us;
		return true;
	}
	return false;
}

static bool
bad(struct err *err, const char *kind, const char *name, const char *text)
{
	return err_set(err, ERR_CONFIG, "4.3.5", "bad %s configuration: %s = %s", kind, name, text);
}

static bool
bool_parse(const char *name, const char *text, int64_t *ret, struct err *err)
{
	if (span_equal_nocase_str(SPAN_LIT("yes"), text))
		*ret = 1;
	else if (span_equal_nocase_str(SPAN_LIT("no"), text))
		*ret = 0;
	else
		return bad(err, "boolean", name, text);
	return true;
}

/* `n` and the limits are in the unit of the limits; below a lower limit of 0 counts as 0. */
static bool
within_limits(const struct conf_param_info *info, const char *name, int64_t *n, struct err *err)
{
	int64_t hi = info->hi != 0 ? info->hi : INT32_MAX;

	if (info->lo == 0 && *n < 0)
		*n = 0;
	if (*n < info->lo)
		return err_set(err, ERR_CONFIG, "4.3.5", "invalid %s parameter value %lld < %lld",
		    name, (long long)*n, (long long)info->lo);
	if (*n > hi)
		return err_set(err, ERR_CONFIG, "4.3.5", "invalid %s parameter value %lld > %lld",
		    name, (long long)*n, (long long)hi);
	return true;
}

static bool
int_parse(const struct conf_param_info *info, const char *name, const char *text, int64_t *ret,
    struct err *err)
{
	int64_t n;

	if (!number_parse(span_str(text), &n))
		return bad(err, "numerical", name, text);
	if (!within_limits(info, name, &n, err))
		return false;
	*ret = n;
	return true;
}

static bool
time_parse(const struct conf_param_info *info, const char *name, const char *text, int64_t *ret,
    struct err *err)
{
	int64_t us;

	if (!conf_value_time(span_str(text), conf_param_unit(info), &us))
		return err_set(err, ERR_CONFIG, "4.3.5", "parameter %s: bad time value or unit: %s",
		    name, text);
	/* 500ms is below a minimum of 1 s. */
	int64_t low = us / CLOCK_SECOND;
	int64_t high = (us + CLOCK_SECOND - 1) / CLOCK_SECOND;
	if (!within_limits(info, name, &low, err) || !within_limits(info, name, &high, err))
		return false;
	*ret = us;
	return true;
}

static bool
is_one_of(struct span word, const char *values)
{
	struct span rest = span_str(values);

	for (;;) {
		size_t n = span_find(rest, '|');

		if (span_equal_nocase(word, span_head(rest, n)))
			return true;
		if (n == rest.len)
			return false;
		rest = span_from(rest, n + 1);
	}
}

static bool
unknown_word(struct err *err, const char *name, struct span word, const char *values)
{
	return err_set(err, ERR_CONFIG, "4.3.5",
	    "unknown value \"%.*s\" of parameter %s: specify %s", SPAN_ARG(word), name,
	    values[0] == '|' ? values + 1 : values);
}

static bool
set_parse(const struct conf_param_info *info, const char *name, const char *text, struct err *err)
{
	struct span rest = span_str(text), word;

	while (span_word(&rest, SEPARATORS, &word))
		if (!is_one_of(word, info->values))
			return unknown_word(err, name, word, info->values);
	return true;
}

bool
conf_value_parse(const struct conf_param_info *info, const char *name, const char *text,
    int64_t *ret_number, struct err *err)
{
	*ret_number = 0;
	switch (info->type) {
	case CONF_TYPE_STR:
	case CONF_TYPE_RAW:
		return true;
	case CONF_TYPE_ENUM:
		if (is_one_of(span_str(text), info->values))
			return true;
		return unknown_word(err, name, span_str(text), info->values);
	case CONF_TYPE_SET:
		return set_parse(info, name, text, err);
	case CONF_TYPE_BOOL:
		return bool_parse(name, text, ret_number, err);
	case CONF_TYPE_INT:
		return int_parse(info, name, text, ret_number, err);
	case CONF_TYPE_TIME:
		return time_parse(info, name, text, ret_number, err);
	}
	UNREACHED();
}

bool
conf_value_item(struct span *rest, struct span *ret_item)
{
	size_t n = 0;
	int level = 0;

	while (rest->len > 0 && strchr(SEPARATORS, rest->ptr[0]) != NULL)
		*rest = span_from(*rest, 1);
	if (rest->len == 0)
		return false;
	while (n < rest->len && (level > 0 || strchr(SEPARATORS, rest->ptr[n]) == NULL)) {
		if (rest->ptr[n] == '{')
			level++;
		else if (rest->ptr[n] == '}' && level > 0)
			level--;
		n++;
	}
	*ret_item = span_head(*rest, n);
	*rest = span_from(*rest, n);
	return true;
}
