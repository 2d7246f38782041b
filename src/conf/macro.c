/*
 * macro.c - the parser and evaluator behind macro.h, by recursive descent. Only the branch that is taken is looked
 * into: what is wrong in the other one does not matter, as in Postfix. The depth of values within values and of
 * braces within braces is limited together, which also catches a value that refers to itself.
 */
#include "conf/macro.h"

#include <ctype.h>

#include "base/mem.h"
#include "conf/conf_level.h"

#define DEPTH_MAX 50     /* each level costs a few hundred bytes of stack, and tasks have 64 KB */
#define STEPS_MAX 100000 /* texts looked into: "$a$a" of "$b$b" of ... doubles with each level */

struct expansion {
	const struct macro_source *source;
	struct buf *out;
	struct err *err;
	int depth;
	int steps;
};

enum compare_op {
	OP_EQ,
	OP_NE,
	OP_LT,
	OP_LE,
	OP_GE,
	OP_GT,
};

/* What follows the name or the comparison inside ${...}. */
struct branches {
	bool has_true, has_false;
	struct span if_true, if_false;
};

static bool expand_text(struct expansion *x, struct span text);

static bool
is_name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static struct span
skip_space(struct span s)
{
	while (s.len > 0 && isspace((unsigned char)s.ptr[0]))
		s = span_from(s, 1);
	return s;
}

static struct span
take_name(struct span *rest)
{
	size_t n = 0;

	while (n < rest->len && is_name_char(rest->ptr[n]))
		n++;
	struct span name = span_head(*rest, n);
	*rest = span_from(*rest, n);
	return name;
}

/* The part of `whole` up to `at`, then ">>>", then the rest: Postfix shows in this way where it stopped reading. */
static bool
syntax_error(struct expansion *x, const char *what, struct span whole, struct span at)
{
	struct span before = span_head(whole, whole.len - at.len);

	if (before.len > 20)
		before = span_from(before, before.len - 20);
	return err_set(x->err, ERR_CONFIG, "4.3.5", "%s at: \"...%.*s>>>%.*s\"", what,
	    SPAN_ARG(before), SPAN_ARG(at));
}

/*
 * Takes a balanced group off the front of `*rest`, which starts with `open`, and gives what is inside. False when the
 * closing character is missing.
 */
static bool
take_group(struct span *rest, char open, char close, struct span *ret_inside)
{
	int level = 0;

	for (size_t i = 0; i < rest->len; i++) {
		if (rest->ptr[i] == open)
			level++;
		else if (rest->ptr[i] == close)
			level--;
		if (level == 0) {
			*ret_inside = span_of(rest->ptr + 1, i - 1);
			*rest = span_from(*rest, i + 1);
			return true;
		}
	}
	return false;
}

/* One branch: {text}, or, where there is no brace, all the rest. */
static bool
take_branch(struct expansion *x, struct span whole, struct span *rest, struct span *ret)
{
	struct span s = skip_space(*rest);

	if (s.len == 0 || s.ptr[0] != '{') {
		*ret = *rest;
		*rest = span_from(*rest, rest->len);
		return true;
	}
	if (!take_group(&s, '{', '}', ret))
		return syntax_error(x, "unbalanced {}", whole, s);
	*rest = skip_space(s);
	return true;
}

static bool
parse_branches(struct expansion *x, struct span whole, struct span rest, struct branches *ret)
{
	*ret = (struct branches){0};
	rest = skip_space(rest);
	if (rest.len == 0)
		return true;
	if (rest.ptr[0] == '?') {
		rest = span_from(rest, 1);
		ret->has_true = true;
		if (!take_branch(x, whole, &rest, &ret->if_true))
			return false;
		if (rest.len == 0)
			return true;
		if (rest.ptr[0] != ':')
			return syntax_error(x, "\":\" expected", whole, rest);
	}
	if (rest.ptr[0] != ':')
		return syntax_error(x, "\"?\" or \":\" expected", whole, rest);
	rest = span_from(rest, 1);
	ret->has_false = true;
	if (!take_branch(x, whole, &rest, &ret->if_false))
		return false;
	if (rest.len > 0)
		return syntax_error(x, "unexpected input", whole, rest);
	return true;
}

static bool
expand_branch(struct expansion *x, const struct branches *b, bool truth)
{
	if (truth)
		return !b->has_true || expand_text(x, b->if_true);
	return !b->has_false || expand_text(x, b->if_false);
}

/* Evaluates {text} of a comparison into `ret`. */
static bool
expand_operand(struct expansion *x, struct span whole, struct span *rest, struct buf *ret)
{
	struct span inside;
	struct buf *out = x->out;

	if (rest->len == 0 || rest->ptr[0] != '{' || !take_group(rest, '{', '}', &inside))
		return syntax_error(x, "\"{expression}\" expected", whole, *rest);
	x->out = ret;
	bool ok = expand_text(x, inside);
	x->out = out;
	return ok;
}

static bool
parse_operator(struct expansion *x, struct span whole, struct span *rest, enum compare_op *ret_op,
    bool *ret_level)
{
	static const struct {
		const char *text;
		enum compare_op op;
	} ops[] = {
	    {"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT}, {"<=", OP_LE}, {">=", OP_GE}, {">", OP_GT}};
	size_t n = 0;

	*rest = skip_space(*rest);
	while (
	    n < rest->len && strchr("<>!=?+-*/~&|%", rest->ptr[n]) != NULL && rest->ptr[n] != '\0')
		n++;
	struct span sign = span_head(*rest, n);
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		if (!span_equal_str(sign, ops[i].text))
			continue;
		*ret_op = ops[i].op;
		*rest = span_from(*rest, n);
		*ret_level = span_starts(*rest, "level");
		*rest = skip_space(*ret_level ? span_from(*rest, 5) : *rest);
		return true;
	}
	return syntax_error(
	    x, "\"==\" or \"!=\" or \"<\" or \"<=\" or \">=\" or \">\" expected", whole, *rest);
}

static bool
op_holds(enum compare_op op, int order)
{
	switch (op) {
	case OP_EQ:
		return order == 0;
	case OP_NE:
		return order != 0;
	case OP_LT:
		return order < 0;
	case OP_LE:
		return order <= 0;
	case OP_GE:
		return order >= 0;
	case OP_GT:
		return order > 0;
	}
	UNREACHED();
}

static bool
all_digits(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!isdigit((unsigned char)s.ptr[i]))
			return false;
	return s.len > 0;
}

static bool
compare_levels(struct expansion *x, struct span a, struct span b, int *ret_order)
{
	int64_t left, right;

	if (!conf_level_parse(a, &left))
		return err_set(x->err, ERR_CONFIG, "4.3.5",
		    "malformed compatibility level syntax: \"%.*s\"", SPAN_ARG(a));
	if (!conf_level_parse(b, &right))
		return err_set(x->err, ERR_CONFIG, "4.3.5",
		    "malformed compatibility level syntax: \"%.*s\"", SPAN_ARG(b));
	*ret_order = (left > right) - (left < right);
	return true;
}

static bool
compare_plain(struct expansion *x, struct span a, struct span b, int *ret_order)
{
	uint64_t left, right;

	if (!all_digits(a) || !all_digits(b)) {
		int order =
		    memcmp(a.len > 0 ? a.ptr : "", b.len > 0 ? b.ptr : "", MIN(a.len, b.len));

		*ret_order = order != 0 ? order : (a.len > b.len) - (a.len < b.len);
		return true;
	}
	if (!span_number(a, UINT64_MAX, &left) || !span_number(b, UINT64_MAX, &right))
		return err_set(x->err, ERR_CONFIG, "4.3.5", "number too large: %.*s or %.*s",
		    SPAN_ARG(a), SPAN_ARG(b));
	*ret_order = (left > right) - (left < right);
	return true;
}

/* {a} op {b}, and what comes after it. */
static bool
expand_comparison(struct expansion *x, struct span whole)
{
	struct buf left CLEANUP(buf_done) = {0};
	struct buf right CLEANUP(buf_done) = {0};
	struct span rest = whole;
	struct branches branches;
	enum compare_op op;
	bool level;
	int order;

	if (!expand_operand(x, whole, &rest, &left) ||
	    !parse_operator(x, whole, &rest, &op, &level) ||
	    !expand_operand(x, whole, &rest, &right) || !parse_branches(x, whole, rest, &branches))
		return false;
	if (level ? !compare_levels(x, buf_span(&left), buf_span(&right), &order)
		  : !compare_plain(x, buf_span(&left), buf_span(&right), &order))
		return false;
	if (branches.has_true || branches.has_false)
		return expand_branch(x, &branches, op_holds(op, order));
	if (op_holds(op, order))
		buf_add_str(x->out, "true");
	return true;
}

static void
add_filtered(struct buf *out, const char *filter, const char *value)
{
	if (filter == NULL) {
		buf_add_str(out, value);
		return;
	}
	for (; *value != '\0'; value++)
		buf_add_char(out, strchr(filter, *value) != NULL ? *value : '_');
}

/* The value of `name` and who knows it. */
static const char *
lookup(struct expansion *x, struct span name, const struct macro_source **ret_source)
{
	for (const struct macro_source *s = x->source; s != NULL; s = s->fallback) {
		const char *value = s->lookup(s->arg, name);

		*ret_source = s;
		if (value != NULL)
			return value;
	}
	if (x->source->undefined != NULL)
		x->source->undefined(x->source->arg, name);
	return NULL;
}

/* The value itself; in main.cf a value is an expression again. */
static bool
expand_value(struct expansion *x, const struct macro_source *source, const char *value)
{
	if (!source->recursive) {
		add_filtered(x->out, source->filter, value);
		return true;
	}
	/* The next lookup may overwrite it. */
	char *copy CLEANUP(mem_free_str) = mem_strdup(value);
	return expand_text(x, span_str(copy));
}

static bool
expand_name(struct expansion *x, struct span name, const struct branches *b)
{
	const struct macro_source *source;
	const char *value = lookup(x, name, &source);

	/* A condition looks at the value as written: "$other" is something even when $other is nothing. */
	if (b->has_true || b->has_false)
		return expand_branch(x, b, value != NULL && value[0] != '\0');
	return value == NULL || expand_value(x, source, value);
}

/*
 * domain_to_ascii{text}, the one function there is (Postfix 3.11). A domain that needs IDNA is refused: this room has
 * no tables for it.
 */
static bool
expand_to_ascii(struct expansion *x, struct span whole, struct span rest)
{
	struct buf domain CLEANUP(buf_done) = {0};

	if (!expand_operand(x, whole, &rest, &domain))
		return false;
	if (skip_space(rest).len > 0)
		return syntax_error(x, "unexpected input", whole, rest);
	for (size_t i = 0; i < domain.len; i++)
		if ((unsigned char)domain.ptr[i] >= 0x80)
			return err_set(x->err, ERR_CONFIG, "4.3.5",
			    "domain_to_ascii: write the xn-- form of %s", buf_str(&domain));
	buf_add_span(x->out, buf_span(&domain));
	return true;
}

/* What is between the braces of ${...}. */
static bool
expand_reference(struct expansion *x, struct span whole)
{
	struct span rest = skip_space(whole);
	struct branches branches;

	if (rest.len > 0 && rest.ptr[0] == '{')
		return expand_comparison(x, rest);
	struct span name = take_name(&rest);
	struct span after = skip_space(rest);
	if (after.len > 0 && after.ptr[0] == '{' && span_equal_str(name, "domain_to_ascii"))
		return expand_to_ascii(x, whole, after);
	if (after.len > 0 && after.ptr[0] != '?' && after.ptr[0] != ':')
		return syntax_error(x, "attribute name syntax error", whole, rest);
	if (name.len == 0)
		return err_set(
		    x->err, ERR_CONFIG, "4.3.5", "empty macro name: \"${%.*s}\"", SPAN_ARG(whole));
	return parse_branches(x, whole, after, &branches) && expand_name(x, name, &branches);
}

/* `*rest` starts behind the dollar sign; `whole` is for messages. */
static bool
expand_dollar(struct expansion *x, struct span whole, struct span *rest)
{
	struct span inside;

	if (rest->len > 0 && rest->ptr[0] == '$') {
		*rest = span_from(*rest, 1);
		buf_add_char(x->out, '$');
		return true;
	}
	if (rest->len > 0 && (rest->ptr[0] == '{' || rest->ptr[0] == '(')) {
		char open = rest->ptr[0];

		if (!take_group(rest, open, open == '{' ? '}' : ')', &inside))
			return err_set(x->err, ERR_CONFIG, "4.3.5",
			    "truncated macro reference: \"%.*s\"", SPAN_ARG(whole));
		return expand_reference(x, inside);
	}
	struct span name = take_name(rest);
	if (name.len == 0)
		return err_set(
		    x->err, ERR_CONFIG, "4.3.5", "empty macro name: \"%.*s\"", SPAN_ARG(whole));
	return expand_name(x, name, &(struct branches){0});
}

static bool
expand_text(struct expansion *x, struct span text)
{
	struct span rest = text;
	bool ok = true;

	if (x->depth >= DEPTH_MAX || ++x->steps > STEPS_MAX)
		return err_set(x->err, ERR_CONFIG, "4.3.5",
		    "unreasonable macro call nesting: \"%.*s\"", SPAN_ARG(span_head(text, 100)));
	x->depth++;
	while (ok && rest.len > 0) {
		size_t plain = span_find(rest, '$');

		buf_add_span(x->out, span_head(rest, plain));
		if (plain == rest.len)
			break;
		rest = span_from(rest, plain + 1);
		ok = expand_dollar(x, text, &rest);
	}
	x->depth--;
	return ok;
}

bool
macro_expand(struct span text, const struct macro_source *source, struct buf *out, struct err *err)
{
	struct expansion x = {.source = source, .out = out, .err = err};

	return expand_text(&x, text);
}

/* Names are found by form alone: every name behind "$" or "${", whether its branch would be taken or not. */
void
macro_names(struct span text, void (*found)(void *arg, struct span name), void *arg)
{
	while (text.len > 0) {
		text = span_from(text, span_find(text, '$'));
		text = span_from(text, 1);
		if (text.len > 0 && text.ptr[0] == '$') {
			text = span_from(text, 1);
			continue;
		}
		if (text.len > 0 && (text.ptr[0] == '{' || text.ptr[0] == '('))
			text = skip_space(span_from(text, 1));
		struct span name = take_name(&text);
		if (name.len > 0)
			found(arg, name);
	}
}
