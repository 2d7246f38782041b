/*
 * table_pcre.c - Perl-compatible regular expressions for pcre: tables (pcre_table(5)), compiled to machine code where the
 * library can, with limits on the work one match may do. The only file that knows PCRE2.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/log.h"
#include "base/mem.h"
#include "table/table_type.h"

/* A match of an honest pattern needs a few thousand steps; one that runs away is cut off. */
#define TABLE_PCRE_MATCH_LIMIT 1000000
#define TABLE_PCRE_DEPTH_LIMIT 100000
#define TABLE_PCRE_HEAP_LIMIT  20000 /* KiB */
/* Machine code of PCRE2 keeps its own stack beside the task's, which is small. */
#define TABLE_PCRE_STACK_START ((size_t)32 << 10)
#define TABLE_PCRE_STACK_MAX   ((size_t)1 << 20)

struct table_pcre {
	pcre2_code *code;
	pcre2_match_data *match;
};

/* One for the process: only one match runs at a time. */
static pcre2_match_context *
table_pcre_context(void)
{
	static pcre2_match_context *context;

	if (context != NULL)
		return context;
	context = pcre2_match_context_create(NULL);
	MUST(context != NULL);
	(void)pcre2_set_match_limit(context, TABLE_PCRE_MATCH_LIMIT);
	(void)pcre2_set_depth_limit(context, TABLE_PCRE_DEPTH_LIMIT);
	(void)pcre2_set_heap_limit(context, TABLE_PCRE_HEAP_LIMIT);
	pcre2_jit_stack_assign(context, NULL,
	    pcre2_jit_stack_create(TABLE_PCRE_STACK_START, TABLE_PCRE_STACK_MAX, NULL));
	return context;
}

static bool
table_pcre_options(struct span options, uint32_t *flags, struct err *err)
{
	static const struct {
		char letter;
		uint32_t flag;
	} letters[] = {
	    {'i', PCRE2_CASELESS},
	    {'m', PCRE2_MULTILINE},
	    {'s', PCRE2_DOTALL},
	    {'x', PCRE2_EXTENDED},
	    {'A', PCRE2_ANCHORED},
	    {'E', PCRE2_DOLLAR_ENDONLY},
	    {'U', PCRE2_UNGREEDY},
	    {'X', 0},
	};

	for (size_t i = 0; i < options.len; i++) {
		size_t n = 0;

		while (n < ARRAY_LEN(letters) && letters[n].letter != options.ptr[i])
			n++;
		if (n == ARRAY_LEN(letters))
			return err_set(err, ERR_CONFIG, "4.3.5",
			    "unknown regexp option \"%c\": skipping this rule", options.ptr[i]);
		*flags ^= letters[n].flag;
	}
	return true;
}

static void
table_pcre_free(void *compiled)
{
	struct table_pcre *p = compiled;

	pcre2_match_data_free(p->match);
	pcre2_code_free(p->code);
	mem_free(p);
}

static bool
table_pcre_compile(const struct table *t, struct span text, struct span options,
    struct table_rule *rule, struct err *err)
{
	uint32_t flags = PCRE2_CASELESS | PCRE2_DOTALL | (table_is_utf8(t) ? PCRE2_UTF : 0);
	struct table_pcre *p;
	uint32_t groups = 0;
	PCRE2_SIZE at;
	pcre2_code *code;
	int error;

	if (!table_pcre_options(options, &flags, err))
		return false;
	if (span_find(options, 'X') < options.len)
		log_warn("pcre map %.*s, line %d: ignoring obsolete regexp option \"X\"",
		    SPAN_ARG(t->argument), rule->line);
	code =
	    pcre2_compile((PCRE2_SPTR)(const void *)text.ptr, text.len, flags, &error, &at, NULL);
	if (code == NULL) {
		PCRE2_UCHAR reason[200];

		(void)pcre2_get_error_message(error, reason, sizeof(reason));
		return err_set(err, ERR_CONFIG, "4.3.5", "error in regex at offset %zu: %s",
		    (size_t)at, (const char *)reason);
	}
	/* Where there is no just-in-time compiler the interpreter does it. */
	(void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
	(void)pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
	p = mem_new(struct table_pcre);
	p->code = code;
	p->match = pcre2_match_data_create_from_pattern(code, NULL);
	MUST(p->match != NULL);
	rule->compiled = p;
	rule->groups = groups;
	return true;
}

/* As in Postfix a pattern that cannot be decided does not match, and the log says so. */
static void
table_pcre_warn(const struct table *t, const struct table_rule *rule, int error)
{
	PCRE2_UCHAR reason[200];

	(void)pcre2_get_error_message(error, reason, sizeof(reason));
	log_warn("pcre map %.*s, line %d: matching error: %s", SPAN_ARG(t->argument), rule->line,
	    (const char *)reason);
}

static bool
table_pcre_match(const struct table *t, struct table_rule *rule, struct span key)
{
	struct table_pcre *p = rule->compiled;
	const PCRE2_SIZE *found;
	int n = pcre2_match(p->code, (PCRE2_SPTR)(const void *)(key.len != 0 ? key.ptr : ""),
	    key.len, 0, table_is_utf8(t) ? PCRE2_NO_UTF_CHECK : 0, p->match, table_pcre_context());

	if (n < 0) {
		if (n != PCRE2_ERROR_NOMATCH)
			table_pcre_warn(t, rule, n);
		return false;
	}
	found = pcre2_get_ovector_pointer(p->match);
	for (size_t i = 0; i <= rule->groups; i++) {
		bool unset = i >= (size_t)n || found[2 * i] == PCRE2_UNSET;

		rule->spans[2 * i] = unset ? TABLE_NO_GROUP : found[2 * i];
		rule->spans[2 * i + 1] = unset ? TABLE_NO_GROUP : found[2 * i + 1];
	}
	return true;
}

static bool
table_pcre_open(struct table *t, struct err *err)
{
	static const struct table_engine engine = {
	    .compile = table_pcre_compile,
	    .match = table_pcre_match,
	    .free = table_pcre_free,
	    .out_of_range = "out of range",
	    .no_delimiter = "ignoring this rule",
	};

	return table_pattern_open(t, &engine, err);
}

const struct table_type table_pcre_type = {
    .name = "pcre",
    .open = table_pcre_open,
    .lookup = table_pattern_lookup,
    .close = table_pattern_close,
    .suffix = "",
    .pattern = true,
};
