/*
 * pipe_args.c - see pipe_args.h.
 */
#include "mailbox/pipe_args.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "mail/mail_addr.h"

/* Words of one command after expansion. */
#define PIPE_WORDS_MAX 100000

/* ---- attributes ---- */

static bool
pipe_parse_flags(const char *text, unsigned *ret, struct err *err)
{
	static const char letters[] = "BDFORXhqu.>";

	for (const char *p = text; *p != '\0'; p++) {
		const char *at = strchr(letters, *p);

		if (at == NULL)
			return err_set(
			    err, ERR_CONFIG, "4.3.5", "unknown flag: %c (ignoring pipe)", *p);
		*ret |= 1u << (at - letters);
	}
	return true;
}

/* C's backslash sequences. */
static const char *
pipe_unescape(struct arena *arena, const char *text)
{
	static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
	char *out = arena_strdup(arena, text);
	size_t n = 0;

	for (const char *p = text; *p != '\0';) {
		const char *at;
		int value = 0, digits = 0;

		if (*p != '\\') {
			out[n++] = *p++;
			continue;
		}
		p++;
		for (; digits < 3 && *p >= '0' && *p <= '7'; digits++)
			value = value * 8 + (*p++ - '0');
		if (digits > 0) {
			out[n++] = (char)value;
			continue;
		}
		at = *p != '\0' ? strchr(from, *p) : NULL;
		out[n++] = at != NULL ? to[at - from] : *p;
		if (*p != '\0')
			p++;
	}
	out[n] = '\0';
	return out;
}

static bool
pipe_parse_size(const char *text, uint64_t *ret, struct err *err)
{
	if (span_number(span_str(text), INT64_MAX, ret))
		return true;
	return err_set(err, ERR_CONFIG, "4.3.5", "bad size limit: size=%s", text);
}

/* One word "name=value" in front of argv=. */
static bool
pipe_parse_word(const char *word, struct arena *arena, struct pipe_args *ret, struct err *err)
{
	const char *value = strchr(word, '=');
	struct span name = span_of(word, value != NULL ? (size_t)(value - word) : 0);

	if (value == NULL)
		return err_set(err, ERR_CONFIG, "4.3.5", "missing '=' in attribute: %s", word);
	value++;
	if (span_equal_str(name, "flags"))
		return pipe_parse_flags(value, &ret->flags, err);
	if (span_equal_str(name, "size"))
		return pipe_parse_size(value, &ret->size_limit, err);
	if (span_equal_str(name, "user"))
		ret->user = value;
	else if (span_equal_str(name, "chroot"))
		ret->chroot = value;
	else if (span_equal_str(name, "directory"))
		ret->directory = value;
	else if (span_equal_str(name, "null_sender"))
		ret->null_sender = value;
	else if (span_equal_str(name, "eol"))
		ret->eol = pipe_unescape(arena, value);
	else
		return err_set(err, ERR_CONFIG, "4.3.5", "unknown attribute name: %s", word);
	return true;
}

bool
pipe_args_parse(
    char *const *words, size_t count, struct arena *arena, struct pipe_args *ret, struct err *err)
{
	*ret = (struct pipe_args){.eol = "\n", .null_sender = "MAILER-DAEMON"};
	for (size_t i = 0; i < count; i++) {
		if (strncmp(words[i], "argv=", 5) == 0) {
			char **argv = arena_alloc(arena, (count - i) * sizeof(char *));

			argv[0] = words[i] + 5;
			for (size_t k = i + 1; k < count; k++)
				argv[k - i] = words[k];
			ret->argv = argv;
			ret->argc = count - i;
			break;
		}
		if (!pipe_parse_word(words[i], arena, ret, err))
			return false;
	}
	if (ret->user == NULL)
		return err_set(err, ERR_CONFIG, "4.3.5", "missing user= command-line attribute");
	if (ret->argc == 0 || ret->argv[0][0] == '\0')
		return err_set(err, ERR_CONFIG, "4.3.5", "missing argv= command-line attribute");
	return true;
}

/* ---- macros ---- */

struct pipe_expansion {
	const struct pipe_args *args;
	const struct pipe_args_source *source;
	struct arena *arena;
	struct err *err;
	const char **words;
	size_t count;
};

static const char *
pipe_fold(struct arena *arena, struct span s, bool fold)
{
	char *copy = arena_dup(arena, s);

	if (fold)
		mail_addr_fold(copy, s.len);
	return copy;
}

/* An address as the flags h, q and u want it. */
static const char *
pipe_address(const struct pipe_expansion *e, const char *addr)
{
	struct mail_addr a = mail_addr_split(span_str(addr));
	unsigned flags = e->args->flags;
	struct buf out = {0};
	const char *copy;

	a.local = span_str(pipe_fold(e->arena, a.local, (flags & PIPE_FLAG_FOLD_USER) != 0));
	a.domain = span_str(pipe_fold(e->arena, a.domain, (flags & PIPE_FLAG_FOLD_HOST) != 0));
	mail_addr_join(&out, &a);
	copy = arena_strdup(e->arena, buf_str(&out));
	if ((flags & PIPE_FLAG_QUOTE) != 0 && copy[0] != '\0') {
		buf_clear(&out);
		mail_addr_quote(&out, span_str(copy));
		copy = arena_strdup(e->arena, buf_str(&out));
	}
	buf_done(&out);
	return copy;
}

/* Macros of a recipient; NULL: it is none of them. */
static const char *
pipe_rcpt_value(const struct pipe_expansion *e, const struct pipe_args_rcpt *r, struct span name)
{
	struct mail_addr a = mail_addr_split(span_str(r->addr));
	bool fold_user = (e->args->flags & PIPE_FLAG_FOLD_USER) != 0;
	size_t cut;

	if (span_equal_str(name, "recipient"))
		return pipe_address(e, r->addr);
	if (span_equal_str(name, "original_recipient"))
		return pipe_address(e, r->orig_addr);
	if (span_equal_str(name, "domain"))
		return pipe_fold(e->arena, a.domain, (e->args->flags & PIPE_FLAG_FOLD_HOST) != 0);
	if (span_equal_str(name, "mailbox"))
		return pipe_fold(e->arena, a.local, fold_user);
	cut = mail_addr_extension(a.local, e->source->delimiters, e->source->owner_request_split);
	if (span_equal_str(name, "user"))
		return pipe_fold(e->arena, span_head(a.local, cut), fold_user);
	if (span_equal_str(name, "extension"))
		return pipe_fold(e->arena, span_from(a.local, cut + 1), fold_user);
	return NULL;
}

static const char *
pipe_sender(const struct pipe_expansion *e)
{
	struct buf out = {0};
	const char *sender = e->source->sender;

	if (sender[0] == '\0')
		sender = e->args->null_sender;
	if ((e->args->flags & PIPE_FLAG_QUOTE) == 0 || sender[0] == '\0')
		return sender;
	mail_addr_quote(&out, span_str(sender));
	sender = arena_strdup(e->arena, buf_str(&out));
	buf_done(&out);
	return sender;
}

static const char *
pipe_other_value(const struct pipe_expansion *e, struct span name)
{
	const char *value;

	if (span_equal_str(name, "sender"))
		return pipe_sender(e);
	value = e->source->lookup(e->source->arg, name);
	if (value != NULL && span_equal_str(name, "nexthop"))
		return pipe_fold(
		    e->arena, span_str(value), (e->args->flags & PIPE_FLAG_FOLD_HOST) != 0);
	return value;
}

/*
 * The name behind a '$' at the front of `rest`, which is moved behind it: name, {name}, (name). False: there is none.
 */
static bool
pipe_macro_name(struct span *rest, struct span *ret)
{
	size_t n = 0;
	char close;

	if (rest->len > 0 && (rest->ptr[0] == '{' || rest->ptr[0] == '(')) {
		close = rest->ptr[0] == '{' ? '}' : ')';
		n = span_find(*rest, close);
		if (n == rest->len)
			return false;
		*ret = span_of(rest->ptr + 1, n - 1);
		*rest = span_from(*rest, n + 1);
		return ret->len > 0;
	}
	while (n < rest->len && (isalnum((unsigned char)rest->ptr[n]) || rest->ptr[n] == '_'))
		n++;
	*ret = span_head(*rest, n);
	*rest = span_from(*rest, n);
	return n > 0;
}

/* Expands one word for one recipient; *ret_of_rcpt: it has a macro of a recipient. */
static bool
pipe_expand_word(struct pipe_expansion *e, const char *word, const struct pipe_args_rcpt *r,
    bool *ret_of_rcpt, struct buf *out)
{
	struct span rest = span_str(word);
	struct span name;
	const char *value;

	*ret_of_rcpt = false;
	while (rest.len > 0) {
		size_t plain = span_find(rest, '$');

		buf_add_span(out, span_head(rest, plain));
		if (plain == rest.len)
			break;
		rest = span_from(rest, plain + 1);
		if (rest.len > 0 && rest.ptr[0] == '$') {
			buf_add_char(out, '$');
			rest = span_from(rest, 1);
			continue;
		}
		if (!pipe_macro_name(&rest, &name))
			return err_set(e->err, ERR_CONFIG, "4.3.5", "%s: \"%s\"",
			    rest.len > 0 && (rest.ptr[0] == '{' || rest.ptr[0] == '(')
				? "truncated macro reference"
				: "empty macro name",
			    word);
		value = pipe_rcpt_value(e, r, name);
		*ret_of_rcpt = *ret_of_rcpt || value != NULL;
		if (value == NULL)
			value = pipe_other_value(e, name);
		if (value == NULL)
			return err_set(e->err, ERR_CONFIG, "4.3.5", "unknown macro name: \"%.*s\"",
			    SPAN_ARG(name));
		buf_add_str(out, value);
	}
	return true;
}

static bool
pipe_expand_argument(struct pipe_expansion *e, const char *word, size_t room)
{
	struct buf out CLEANUP(buf_done) = {0};
	bool of_rcpt = true;

	for (size_t i = 0; i < e->source->rcpt_count && of_rcpt; i++) {
		buf_clear(&out);
		if (!pipe_expand_word(e, word, &e->source->rcpts[i], &of_rcpt, &out))
			return false;
		MUST(e->count < room);
		e->words[e->count++] = arena_strdup(e->arena, buf_str(&out));
	}
	return true;
}

bool
pipe_args_expand(const struct pipe_args *a, const struct pipe_args_source *s, struct arena *arena,
    const char ***ret, struct err *err)
{
	struct pipe_expansion e = {.args = a, .source = s, .arena = arena, .err = err};
	size_t room = a->argc * s->rcpt_count;

	if (room > PIPE_WORDS_MAX)
		return err_set(err, ERR_CONFIG, "4.3.5", "too many words in the command");
	e.words = arena_alloc(arena, (room + 1) * sizeof(*e.words));
	for (size_t i = 0; i < a->argc; i++)
		if (!pipe_expand_argument(&e, a->argv[i], room))
			return false;
	*ret = e.words;
	return true;
}
