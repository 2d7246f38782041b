/*
 * table_regexp.c - POSIX regular expressions for regexp: tables (regexp_table(5)).
 */
#include <regex.h>

#include "base/mem.h"
#include "table/table_type.h"

/* Groups that a pattern may have; and the space for what they matched. */
#define TABLE_REGEXP_GROUPS_MAX 99

static bool
table_regexp_options(struct span options, int *ret_flags, struct err *err)
{
	*ret_flags = REG_EXTENDED | REG_ICASE;
	for (size_t i = 0; i < options.len; i++) {
		switch (options.ptr[i]) {
		case 'i':
			*ret_flags ^= REG_ICASE;
			break;
		case 'm':
			*ret_flags ^= REG_NEWLINE;
			break;
		case 'x':
			*ret_flags ^= REG_EXTENDED;
			break;
		default:
			return err_set(err, ERR_CONFIG, "4.3.5",
			    "unknown regexp option \"%c\": skipping this rule", options.ptr[i]);
		}
	}
	return true;
}

static void
table_regexp_free(void *compiled)
{
	regfree(compiled);
	mem_free(compiled);
}

static bool
table_regexp_compile(const struct table *t UNUSED, struct span text, struct span options,
    struct table_rule *rule, struct err *err)
{
	char *pattern CLEANUP(mem_free_str) = span_dup(text);
	regex_t *compiled;
	int flags, error;

	if (!table_regexp_options(options, &flags, err))
		return false;
	compiled = mem_new(regex_t);
	error = regcomp(compiled, pattern, flags);
	if (error != 0) {
		char reason[200];

		(void)regerror(error, compiled, reason, sizeof(reason));
		mem_free(compiled);
		return err_set(err, ERR_CONFIG, "4.3.5", "%s", reason);
	}
	if (compiled->re_nsub > TABLE_REGEXP_GROUPS_MAX) {
		table_regexp_free(compiled);
		return err_set(
		    err, ERR_CONFIG, "4.3.5", "too many subexpressions: skipping this rule");
	}
	rule->compiled = compiled;
	rule->groups = compiled->re_nsub;
	return true;
}

static bool
table_regexp_match(const struct table *t UNUSED, struct table_rule *rule, struct span key)
{
	regmatch_t found[TABLE_REGEXP_GROUPS_MAX + 1];
	/* REG_STARTEND: the key need not end with NUL. */
	regmatch_t *range = found;

	range->rm_so = 0;
	range->rm_eo = (regoff_t)key.len;
	if (regexec(rule->compiled, key.len != 0 ? key.ptr : "",
		rule->negated ? 1 : rule->groups + 1, found, REG_STARTEND) != 0)
		return false;
	for (size_t i = 0; i <= rule->groups && !rule->negated; i++) {
		rule->spans[2 * i] = found[i].rm_so < 0 ? TABLE_NO_GROUP : (size_t)found[i].rm_so;
		rule->spans[2 * i + 1] =
		    found[i].rm_eo < 0 ? TABLE_NO_GROUP : (size_t)found[i].rm_eo;
	}
	return true;
}

static bool
table_regexp_open(struct table *t, struct err *err)
{
	static const struct table_engine engine = {
	    .compile = table_regexp_compile,
	    .match = table_regexp_match,
	    .free = table_regexp_free,
	    .out_of_range = "out-of-range",
	    .no_delimiter = "skipping this rule",
	};

	return table_pattern_open(t, &engine, err);
}

const struct table_type table_regexp_type = {
    .name = "regexp",
    .open = table_regexp_open,
    .lookup = table_pattern_lookup,
    .close = table_pattern_close,
    .suffix = "",
    .pattern = true,
};
