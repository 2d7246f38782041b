/*
 * table_pattern.c - what pcre: and regexp: tables have in common: rules "/pattern/flags result" with "!" and if/endif, read
 * once, tried in order, and $1 in results. A rule that is wrong is named in the log and left out, as in Postfix.
 */
#include <ctype.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "table/table_type.h"

struct table_pattern {
	const struct table_engine *engine;
	struct table_rule *rules; /* owned */
	size_t count;
};

/* A rule being read. */
struct table_rule_text {
	const struct table_rules *source;
	const struct table *table;
	struct span rest; /* what is not read yet */
	const struct table_engine *engine;
};

static void
table_rule_done(struct table_rule *rule, const struct table_engine *engine)
{
	if (rule->compiled != NULL)
		engine->free(rule->compiled);
	mem_free(rule->spans);
	mem_free(rule->result);
}

void
table_pattern_close(void *state)
{
	struct table_pattern *p = state;

	for (size_t i = 0; i < p->count; i++)
		table_rule_done(&p->rules[i], p->engine);
	mem_free(p->rules);
	mem_free(p);
}

/* ---- $1 in results ------------------------------------------------------------------------------------------------ */

/* The next piece of a result: literal text, or the number of a group. */
struct table_piece {
	struct span text; /* literal, or the name of the group */
	bool is_reference;
};

enum table_piece_result {
	TABLE_PIECE_OK,
	TABLE_PIECE_END,
	TABLE_PIECE_EMPTY,     /* "$" and no name */
	TABLE_PIECE_TRUNCATED, /* "${" and no "}" */
};

static enum table_piece_result
table_piece_name(struct span *rest, struct table_piece *ret)
{
	bool braces = rest->len > 1 && (rest->ptr[1] == '{' || rest->ptr[1] == '(');
	struct span name = span_from(*rest, braces ? 2 : 1);
	size_t n = 0;

	while (n < name.len && (isalnum((unsigned char)name.ptr[n]) || name.ptr[n] == '_'))
		n++;
	if (braces) {
		size_t end = span_find(name, rest->ptr[1] == '{' ? '}' : ')');

		if (end == name.len)
			return TABLE_PIECE_TRUNCATED;
		*rest = span_from(name, end + 1);
		n = end;
	} else {
		*rest = span_from(name, n);
	}
	if (n == 0)
		return TABLE_PIECE_EMPTY;
	*ret = (struct table_piece){span_head(name, n), true};
	return TABLE_PIECE_OK;
}

static enum table_piece_result
table_piece_next(struct span *rest, struct table_piece *ret)
{
	size_t dollar = span_find(*rest, '$');

	if (rest->len == 0)
		return TABLE_PIECE_END;
	if (dollar != 0) {
		*ret = (struct table_piece){span_head(*rest, dollar), false};
		*rest = span_from(*rest, dollar);
		return TABLE_PIECE_OK;
	}
	if (rest->len > 1 && rest->ptr[1] == '$') {
		*ret = (struct table_piece){span_head(*rest, 1), false};
		*rest = span_from(*rest, 2);
		return TABLE_PIECE_OK;
	}
	return table_piece_name(rest, ret);
}

/* May this reference stand in the result of `rule`? */
static bool
table_check_reference(
    const struct table_rule_text *text, const struct table_rule *rule, struct span name)
{
	uint64_t number;

	if (!span_number(name, 1000000, &number)) {
		table_rules_warn(text->source, text->table,
		    "non-numeric replacement index \"%.*s\"", SPAN_ARG(name));
		table_rules_warn(
		    text->source, text->table, "bad replacement syntax: skipping this rule");
		return false;
	}
	if ((text->table->flags & TABLE_NO_SUBSTITUTION) != 0) {
		table_rules_warn(text->source, text->table,
		    "regular expression substitution is not allowed: skipping this rule");
		return false;
	}
	if (rule->negated) {
		table_rules_warn(text->source, text->table,
		    "$number found in negative match replacement text: skipping this rule");
		return false;
	}
	if (number < 1) {
		table_rules_warn(text->source, text->table, "%s replacement index \"%d\"",
		    text->engine->out_of_range, (int)number);
		table_rules_warn(
		    text->source, text->table, "bad replacement syntax: skipping this rule");
		return false;
	}
	if (number > rule->groups) {
		table_rules_warn(text->source, text->table,
		    "out of range replacement index \"%d\": skipping this rule", (int)number);
		return false;
	}
	return true;
}

/* Checks the result before it is ever used, so that no lookup can fail because of it. */
static bool
table_check_result(const struct table_rule_text *text, const struct table_rule *rule)
{
	struct span rest = span_str(rule->result);
	enum table_piece_result r;
	struct table_piece piece;

	while ((r = table_piece_next(&rest, &piece)) == TABLE_PIECE_OK)
		if (piece.is_reference && !table_check_reference(text, rule, piece.text))
			return false;
	if (r == TABLE_PIECE_END)
		return true;
	log_warn("%s: \"%s\"",
	    r == TABLE_PIECE_EMPTY ? "empty macro name" : "truncated macro reference",
	    rule->result);
	table_rules_warn(text->source, text->table, "bad replacement syntax: skipping this rule");
	return false;
}

static void
table_add_result(const struct table_rule *rule, struct span key, struct buf *value)
{
	struct span rest = span_str(rule->result);
	struct table_piece piece;

	if (rule->literal) {
		buf_add_span(value, rest);
		return;
	}
	while (table_piece_next(&rest, &piece) == TABLE_PIECE_OK && value->len < TABLE_VALUE_MAX) {
		uint64_t number;
		const size_t *group;

		if (!piece.is_reference) {
			buf_add_span(value, piece.text);
			continue;
		}
		if (!span_number(piece.text, rule->groups, &number))
			continue;
		group = &rule->spans[2 * number];
		if (group[0] != TABLE_NO_GROUP && group[1] > group[0])
			buf_add_span(value, span_of(key.ptr + group[0], group[1] - group[0]));
	}
}

/* ---- reading rules ------------------------------------------------------------------------------------------------ */

static void
table_skip_space(struct span *s)
{
	while (s->len > 0 && isspace((unsigned char)s->ptr[0]))
		*s = span_from(*s, 1);
}

/* "!/pattern/flags" at the front of text->rest, compiled into `rule`. */
static bool
table_read_pattern(
    struct table_rule_text *text, const struct table_engine *engine, struct table_rule *rule)
{
	struct span *rest = &text->rest;
	struct span pattern;
	struct err err = {0};
	size_t end = 1, options = 0;

	for (; rest->len > 0 && rest->ptr[0] == '!'; table_skip_space(rest)) {
		rule->negated = !rule->negated;
		*rest = span_from(*rest, 1);
	}
	if (rest->len == 0) {
		table_rules_warn(text->source, text->table, "no regexp: skipping this rule");
		return false;
	}
	while (end < rest->len && rest->ptr[end] != rest->ptr[0])
		end += rest->ptr[end] == '\\' && end + 1 < rest->len ? 2 : 1;
	if (end >= rest->len) {
		table_rules_warn(text->source, text->table,
		    "no closing regexp delimiter \"%c\": %s", rest->ptr[0], engine->no_delimiter);
		return false;
	}
	pattern = span_of(rest->ptr + 1, end - 1);
	*rest = span_from(*rest, end + 1);
	while (options < rest->len && !isspace((unsigned char)rest->ptr[options]) &&
	       rest->ptr[options] != '!')
		options++;
	if (!engine->compile(text->table, pattern, span_head(*rest, options), rule, &err)) {
		table_rules_warn(text->source, text->table, "%s", err.text);
		return false;
	}
	*rest = span_from(*rest, options);
	rule->spans = mem_resize(NULL, 2 * (rule->groups + 1), sizeof(*rule->spans));
	table_skip_space(rest);
	return true;
}

/* The result is what files hold, and is not looked through for $1. */
static bool
table_read_result_files(struct table_rule_text *text, struct table_rule *rule)
{
	struct buf content CLEANUP(buf_done) = {0};
	struct err err = {0};

	if (!table_add_files(&content, text->rest, &err)) {
		table_rules_warn(text->source, text->table, "%s: skipping this rule", err.text);
		return false;
	}
	rule->literal = true;
	rule->result = span_dup(buf_span(&content));
	return true;
}

static bool
table_read_result_rule(
    struct table_rule_text *text, const struct table_engine *engine, struct table_rule *rule)
{
	rule->kind = TABLE_RULE_RESULT;
	if (!table_read_pattern(text, engine, rule))
		return false;
	if (text->rest.len == 0)
		table_rules_warn(
		    text->source, text->table, "no replacement text: using empty string");
	if ((text->table->flags & TABLE_FILE_VALUES) != 0)
		return table_read_result_files(text, rule);
	rule->result = span_dup(text->rest);
	return table_check_result(text, rule);
}

static bool
table_read_if(
    struct table_rule_text *text, const struct table_engine *engine, struct table_rule *rule)
{
	rule->kind = TABLE_RULE_IF;
	text->rest = span_from(text->rest, 2);
	table_skip_space(&text->rest);
	if (!table_read_pattern(text, engine, rule))
		return false;
	if (text->rest.len != 0) {
		table_rules_warn(text->source, text->table,
		    "ignoring extra text after IF statement: \"%.*s\"", SPAN_ARG(text->rest));
		table_rules_warn(text->source, text->table,
		    "do not prepend whitespace to statements between IF and ENDIF");
	}
	return true;
}

static bool
table_is_word(struct span s, const char *word)
{
	size_t n = strlen(word);

	return span_starts_nocase(s, word) && (s.len == n || !isalnum((unsigned char)s.ptr[n]));
}

/* One logical line. False: nothing to be added. */
static bool
table_read_rule(struct table_rule_text *text, const struct table_engine *engine, size_t open_ifs,
    struct table_rule *rule)
{
	rule->line = text->source->number;
	if (text->rest.len == 0)
		return false;
	if (!isalnum((unsigned char)text->rest.ptr[0]))
		return table_read_result_rule(text, engine, rule);
	if (table_is_word(text->rest, "if"))
		return table_read_if(text, engine, rule);
	if (!table_is_word(text->rest, "endif")) {
		table_rules_warn(text->source, text->table, "ignoring unrecognized request");
		return false;
	}
	rule->kind = TABLE_RULE_ENDIF;
	if (open_ifs == 0) {
		table_rules_warn(text->source, text->table, "ignoring ENDIF without matching IF");
		return false;
	}
	if (text->rest.len > strlen("endif"))
		table_rules_warn(text->source, text->table, "ignoring extra text after ENDIF");
	return true;
}

/* The rules that are still open, innermost last. */
struct table_open_ifs {
	size_t *at; /* owned */
	size_t count;
};

static void
table_note_if(struct table_pattern *p, struct table_open_ifs *ifs)
{
	const struct table_rule *last = &p->rules[p->count - 1];

	if (last->kind == TABLE_RULE_IF) {
		ifs->at = mem_resize(ifs->at, ifs->count + 1, sizeof(*ifs->at));
		ifs->at[ifs->count++] = p->count - 1;
	} else if (last->kind == TABLE_RULE_ENDIF) {
		p->rules[ifs->at[--ifs->count]].after = p->count;
	}
}

/* An if without endif reaches to the end. */
static void
table_close_ifs(struct table_pattern *p, struct table_open_ifs *ifs, struct table_rules *source,
    const struct table *t)
{
	while (ifs->count != 0) {
		struct table_rule *rule = &p->rules[ifs->at[--ifs->count]];

		rule->after = p->count;
		source->number = rule->line;
		table_rules_warn(source, t, "IF has no matching ENDIF");
	}
	mem_free(ifs->at);
}

bool
table_pattern_open(struct table *t, const struct table_engine *engine, struct err *err)
{
	struct table_rules source CLEANUP(table_rules_done) = {0};
	struct table_open_ifs ifs = {0};
	struct table_pattern *p;
	struct span line;

	if (!table_rules_open(&source, t, err))
		return false;
	p = mem_new(struct table_pattern);
	p->engine = engine;
	while (table_rules_next(&source, &line)) {
		struct table_rule_text text = {&source, t, line, engine};
		struct table_rule rule = {0};

		if (!table_read_rule(&text, engine, ifs.count, &rule)) {
			table_rule_done(&rule, engine);
			continue;
		}
		p->rules = mem_resize(p->rules, p->count + 1, sizeof(*p->rules));
		p->rules[p->count++] = rule;
		table_note_if(p, &ifs);
	}
	table_close_ifs(p, &ifs, &source, t);
	t->state = p;
	return true;
}

enum table_result
table_pattern_lookup(struct table *t, struct span key, struct buf *value, struct err *err UNUSED)
{
	struct table_pattern *p = t->state;

	for (size_t i = 0; i < p->count;) {
		struct table_rule *rule = &p->rules[i++];
		bool holds;

		if (rule->kind == TABLE_RULE_ENDIF)
			continue;
		holds = p->engine->match(t, rule, key) != rule->negated;
		if (rule->kind == TABLE_RULE_IF) {
			if (!holds)
				i = rule->after;
		} else if (holds) {
			table_add_result(rule, key, value);
			return TABLE_FOUND;
		}
	}
	return TABLE_NOT_FOUND;
}
