/*
 * mail_addr_field.c - see mail_addr_field.h. The value is cut into tokens, which are gathered into addresses from right to left:
 * only what stands right of a word tells whether the word ends an address (it does when another word, '>' or nothing
 * follows) or a display name (when '<' does).
 */
#include "mail/mail_addr_field.h"

#include "base/arena.h"
#include "base/mem.h"
#include "mail/mail_addr.h"

#define LINE_MAX_JOINED 70

/* Of a token: an operator is its own character. */
enum {
	ATOM = 256,
	STRING,  /* in quotes */
	LITERAL, /* in brackets */
	COMMENT,
	ADDRESS, /* only in the result */
	GROUP,   /* the ':' behind a group's name */
};

struct token {
	int type;
	struct span text; /* without quotes and brackets; a comment has its own */
};

/* What the result consists of: a token, or an address made of tokens [from, to). */
struct part {
	int type;
	size_t from, to;
};

struct field {
	struct arena arena;
	struct token *tokens;
	size_t token_count;
	struct part *parts; /* last one first */
	size_t part_count;
	size_t right;     /* the tokens from here on are in parts */
	bool word_before; /* the token right of the present one ends an address if that is a word */
	bool in_group;    /* a ';' stands to the right */
};

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_operator(char c)
{
	return c != '\0' && strchr("()<>@,;:\".[!%", c) != NULL;
}

/* Up to the `close` that belongs to s.ptr[0]; quoted pairs lose their backslash but in comments. Line ends become blanks. */
static size_t
scan_enclosed(struct span s, char close, struct buf *text)
{
	bool comment = s.ptr[0] == '(';
	size_t depth = 1;
	size_t i = 1;

	for (; i < s.len; i++) {
		char c = s.ptr[i];

		if (c == close && --depth == 0)
			return i + 1;
		if (comment && c == '(')
			depth++;
		if (c == '\\' && i + 1 < s.len) {
			if (comment)
				buf_add_char(text, c);
			c = s.ptr[++i];
		} else if (c == '\\') {
			continue;
		}
		buf_add_char(text, c == '\n' || c == '\r' ? ' ' : c);
	}
	return i;
}

static size_t
scan_atom(struct span s, struct buf *text)
{
	size_t i = 0;

	for (; i < s.len && !is_space(s.ptr[i]) && !is_operator(s.ptr[i]); i++) {
		if (s.ptr[i] == '\\' && ++i == s.len)
			break;
		buf_add_char(text, s.ptr[i]);
	}
	return i;
}

/* An atom with a character that no atom may have was written with backslashes. */
static bool
needs_quotes(struct span atom)
{
	for (size_t i = 0; i < atom.len; i++)
		if (is_space(atom.ptr[i]) || is_operator(atom.ptr[i]) || atom.ptr[i] == '\\')
			return true;
	return false;
}

static size_t
scan_token(struct field *f, struct span s, struct token *ret)
{
	struct buf text CLEANUP(buf_done) = {0};
	size_t len;

	switch (s.ptr[0]) {
	case '"':
		ret->type = STRING;
		len = scan_enclosed(s, '"', &text);
		break;
	case '[':
		ret->type = LITERAL;
		len = scan_enclosed(s, ']', &text);
		break;
	case '(':
		ret->type = COMMENT;
		buf_add_char(&text, '(');
		len = scan_enclosed(s, ')', &text);
		if (s.ptr[len - 1] == ')')
			buf_add_char(&text, ')');
		break;
	default:
		if (is_operator(s.ptr[0])) {
			*ret = (struct token){(unsigned char)s.ptr[0], span_head(s, 1)};
			return 1;
		}
		len = scan_atom(s, &text);
		ret->type = needs_quotes(buf_span(&text)) ? STRING : ATOM;
		break;
	}
	ret->text = span_of(arena_dup(&f->arena, buf_span(&text)), text.len);
	return len;
}

static void
scan(struct field *f, struct span value, size_t limit)
{
	while (value.len != 0 && (limit == 0 || f->token_count < limit)) {
		struct token t;

		if (is_space(value.ptr[0])) {
			value = span_from(value, 1);
			continue;
		}
		value = span_from(value, scan_token(f, value, &t));
		if ((f->token_count & (f->token_count - 1)) == 0)
			f->tokens = mem_resize(f->tokens,
			    f->token_count != 0 ? f->token_count * 2 : 1, sizeof(*f->tokens));
		f->tokens[f->token_count++] = t;
	}
}

/* ---- from tokens to addresses ---------------------------------------------------------------------------------- */

static void
add_part(struct field *f, int type, size_t from, size_t to)
{
	if ((f->part_count & (f->part_count - 1)) == 0)
		f->parts = mem_resize(
		    f->parts, f->part_count != 0 ? f->part_count * 2 : 1, sizeof(*f->parts));
	f->parts[f->part_count++] = (struct part){type, from, to};
}

static void
add_token(struct field *f, size_t i)
{
	add_part(f, f->tokens[i].type, i, i + 1);
}

/* The tokens from `left` to where parts begin are one address, its comments behind it; perhaps with a comma in front. */
static void
close_address(struct field *f, size_t left, bool comma)
{
	bool some = false;

	for (size_t i = f->right; i-- > left;) {
		if (f->tokens[i].type == COMMENT)
			add_token(f, i);
		else
			some = true;
	}
	if (some)
		add_part(f, ADDRESS, left, f->right);
	if (some && comma)
		add_part(f, ',', 0, 0);
	f->right = left;
}

/* Left of '<' or a group's ':': a name. Returns the index of its first token. */
static size_t
take_phrase(struct field *f, size_t i)
{
	while (i > 0 &&
	       strchr(",;>", f->tokens[i - 1].type < ATOM ? f->tokens[i - 1].type : 'x') == NULL)
		add_token(f, --i);
	f->right = i;
	f->word_before = false;
	return i;
}

/* '>': an address in brackets, or all that stands to the left. Returns the index of the first token that was taken. */
static size_t
take_bracket(struct field *f, size_t i)
{
	size_t left = i;

	close_address(f, i + 1, true);
	add_token(f, i);
	f->right = i;
	f->word_before = false;
	while (left > 0 && f->tokens[left - 1].type != '<')
		left--;
	close_address(f, left, false);
	if (left == 0)
		return 0;
	add_token(f, left - 1);
	return take_phrase(f, left - 1);
}

static void
gather(struct field *f)
{
	size_t i = f->token_count;

	f->right = i;
	while (i > 0) {
		int type = f->tokens[--i].type;

		if (type == '>') {
			i = take_bracket(f, i);
		} else if (type == ',' || type == ';') {
			close_address(f, i + 1, type == ';');
			add_token(f, i);
			f->right = i;
			f->word_before = false;
			f->in_group = f->in_group || type == ';';
		} else if (type == ':' && f->in_group) {
			close_address(f, i + 1, false);
			add_part(f, GROUP, i, i + 1);
			f->in_group = false;
			i = take_phrase(f, i);
		} else if (type == ATOM || type == STRING || type == LITERAL) {
			if (f->word_before)
				close_address(f, i + 1, true);
			f->word_before = true;
		} else if (type != COMMENT) {
			f->word_before = false;
		}
	}
	close_address(f, 0, false);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void
add_escaped(struct buf *out, struct span text, const char *special)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] != '\0' && strchr(special, text.ptr[i]) != NULL)
			buf_add_char(out, '\\');
		buf_add_char(out, text.ptr[i]);
	}
}

static void
write_token(struct buf *out, const struct token *t)
{
	if (t->type == STRING) {
		buf_add_char(out, '"');
		add_escaped(out, t->text, "\"\\");
		buf_add_char(out, '"');
	} else if (t->type == LITERAL) {
		buf_add_char(out, '[');
		add_escaped(out, t->text, "\\");
		buf_add_char(out, ']');
	} else {
		buf_add_span(out, t->text);
	}
}

/* The address in tokens [from, to), as it stands, or in internal form; without comments. */
static void
write_address(const struct field *f, size_t from, size_t to, bool internal, struct buf *out)
{
	for (size_t i = from; i < to; i++) {
		const struct token *t = &f->tokens[i];

		if (t->type == COMMENT)
			continue;
		if (internal && t->type == STRING)
			buf_add_span(out, t->text);
		else
			write_token(out, t);
		if (i + 1 < to && (t->type == ',' || f->tokens[i + 1].type == '<'))
			buf_add_char(out, ' ');
	}
}

static bool
change_address(struct field *f, const struct part *p, mail_addr_field_change change, void *arg,
    struct buf *out, bool *changed)
{
	struct buf before CLEANUP(buf_done) = {0};
	struct buf internal CLEANUP(buf_done) = {0};
	struct buf now CLEANUP(buf_done) = {0};
	struct buf after CLEANUP(buf_done) = {0};

	write_address(f, p->from, p->to, false, &before);
	write_address(f, p->from, p->to, true, &internal);
	if (internal.len == 0) {
		buf_add_span(out, buf_span(&before));
		return true;
	}
	/* A source route goes, whatever it leads to (RFC 5321 appendix C). */
	if (!change(arg, mail_addr_strip_route(buf_span(&internal)), &now))
		return false;
	/* An empty local part and no domain are a pair of quotes. */
	if (now.len == 0)
		buf_add_span(&after, buf_span(&before));
	else if (span_equal_str(buf_span(&now), "@"))
		buf_add_str(&after, "\"\"");
	else
		mail_addr_quote(&after, buf_span(&now));
	*changed = *changed || !span_equal(buf_span(&after), buf_span(&before));
	buf_add_span(out, buf_span(&after));
	return true;
}

static bool
is_operand(int type)
{
	return type == ATOM || type == STRING || type == LITERAL || type == COMMENT ||
	       type == ADDRESS;
}

static bool
write_parts(
    struct field *f, mail_addr_field_change change, void *arg, struct buf *out, bool *changed)
{
	for (size_t i = f->part_count; i-- > 0;) {
		const struct part *p = &f->parts[i];
		int next = i > 0 ? f->parts[i - 1].type : 0;

		if (p->type == ',') {
			buf_add_str(out, ",\n");
			continue;
		}
		if (p->type != ADDRESS)
			write_token(out, &f->tokens[p->from]);
		else if (!change_address(f, p, change, arg, out, changed))
			return false;
		if (next != 0 &&
		    (p->type == GROUP || next == '<' || (is_operand(p->type) && is_operand(next))))
			buf_add_char(out, ' ');
	}
	return true;
}

/* Joins lines while they are short; later ones begin with a tab. */
static void
join_lines(struct buf *out, struct span text)
{
	size_t start = 0;

	for (size_t at = 0; at <= text.len;) {
		struct span rest = span_from(text, at);
		size_t end = at + span_find(rest, '\n');

		if (at > 0 && end - start < LINE_MAX_JOINED) {
			buf_add_char(out, ' ');
		} else if (at > 0) {
			buf_add_str(out, "\n\t");
			start = at;
		}
		buf_add_span(out, span_head(rest, end - at));
		at = end + 1;
	}
	buf_add_char(out, '\n');
}

bool
mail_addr_field_rewrite(struct span name, struct span value, size_t token_limit,
    mail_addr_field_change change, void *arg, struct buf *out, bool *ret_changed)
{
	struct field f = {0};
	struct buf lines CLEANUP(buf_done) = {0};
	bool good;

	*ret_changed = false;
	scan(&f, value, token_limit);
	gather(&f);
	buf_printf(&lines, "%.*s: ", SPAN_ARG(name));
	good = write_parts(&f, change, arg, &lines, ret_changed);
	if (good && *ret_changed)
		join_lines(out, buf_span(&lines));
	mem_free(f.tokens);
	mem_free(f.parts);
	arena_done(&f.arena);
	return good;
}
