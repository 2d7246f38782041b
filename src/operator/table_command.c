/*
 * table_command.c - asking and listing; what writes is in table_command_write.c. See table_command.h.
 */
#include "operator/table_command.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "backend/backend_types.h"
#include "base/log.h"
#include "base/mem.h"
#include "operator/table_command_cluster.h"
#include "operator/table_scan.h"
#include "table/table_type.h"

static unsigned
table_command_flags(const struct table_command *c)
{
	bool bytes = c->bytes || ((c->headers || c->body) && !c->text);
	unsigned twice = c->silent    ? TABLE_DUP_IGNORE
			 : c->replace ? TABLE_DUP_REPLACE
				      : TABLE_DUP_WARN;

	return (c->exact_case ? TABLE_EXACT_CASE : 0) | (c->file_values ? TABLE_FILE_VALUES : 0) |
	       (bytes ? TABLE_BYTES : 0) | twice;
}

static bool
table_command_open(
    const struct table_command *c, const char *spec, struct table **ret, struct err *err)
{
	struct table *t = table_open(c->conf, span_str(spec), table_command_flags(c));

	if (table_trouble(t) == NULL) {
		*ret = t;
		return true;
	}
	(void)err_set(err, ERR_CONFIG, "", "%s", table_trouble(t));
	table_close(&t);
	return false;
}

static void
table_command_print(const struct table_command *c, struct span key, struct span value)
{
	(void)printf("%.*s%s\t", SPAN_ARG(key), c->aliases ? ":" : "");
	(void)fwrite(value.ptr, 1, value.len, stdout);
	(void)putchar('\n');
}

/* One lookup as postmap tells of it: an empty result is shown, with a warning. */
static bool
table_command_ask(
    struct table *t, struct span key, struct buf *value, bool *ret_found, struct err *err)
{
	enum table_result r = table_ask(t, key, value, err);

	*ret_found = r == TABLE_FOUND;
	if (r == TABLE_ERROR && err->kind == ERR_CONFIG)
		return err_set(err, ERR_CONFIG, "", "table %s: query error", table_name(t));
	if (r == TABLE_ERROR)
		return err_set(err, ERR_TEMP, "", "table %s: query error: %s", table_name(t),
		    err->text[0] != '\0' ? err->text : "Application error");
	if (r == TABLE_FOUND && value->len == 0) {
		log_warn("table %s: key %.*s: empty string result is not allowed", table_name(t),
		    SPAN_ARG(key));
		log_warn("table %s should return NO RESULT in case of NOT FOUND", table_name(t));
	}
	return true;
}

bool
table_command_query(
    const struct table_command *c, const char *key, bool *ret_found, struct err *err)
{
	struct buf value CLEANUP(buf_done) = {0};
	bool ok = true;

	*ret_found = false;
	for (size_t i = 0; ok && !*ret_found && i < c->count; i++) {
		struct table *t;

		err_clear(err);
		buf_clear(&value);
		if (!table_command_open(c, c->tables[i], &t, err))
			return false;
		ok = table_command_ask(t, span_str(key), &value, ret_found, err);
		table_close(&t);
	}
	if (ok && *ret_found) {
		(void)fwrite(buf_str(&value), 1, value.len, stdout);
		(void)putchar('\n');
	}
	return ok;
}

/* ---- -q - --------------------------------------------------------------------------------------------------------- */

struct table_questions {
	const struct table_command *command;
	struct table **tables;
	bool found;
	bool ok;
	struct err *err;
};

static void
table_question(void *arg, struct span key)
{
	struct table_questions *q = arg;
	struct buf value CLEANUP(buf_done) = {0};

	for (size_t i = 0; q->ok && i < q->command->count; i++) {
		bool found;

		err_clear(q->err);
		buf_clear(&value);
		q->ok = table_command_ask(q->tables[i], key, &value, &found, q->err);
		if (!q->ok || !found)
			continue;
		table_command_print(q->command, key, buf_span(&value));
		q->found = true;
		return;
	}
}

bool
table_read_input(struct buf *out, struct err *err)
{
	ssize_t n;

	while ((n = read(STDIN_FILENO, buf_room(out, 65536), 65536)) > 0) {
		buf_added(out, (size_t)n);
		if (out->len > TABLE_FILE_MAX)
			return err_set(err, ERR_PERM, "", "standard input: too large");
	}
	return n == 0 || err_set(err, ERR_TEMP, "", "read standard input: %s", strerror(errno));
}

static void
table_questions_run(struct table_questions *q, struct span input)
{
	const struct table_command *c = q->command;
	struct table_scan scan = {.headers = c->headers,
	    .body = c->body,
	    .mime = c->mime,
	    .key = table_question,
	    .arg = q};

	if (c->headers || c->body) {
		table_scan(&scan, input);
		return;
	}
	while (q->ok && input.len != 0) {
		size_t n = span_find(input, '\n');

		table_question(q, span_head(input, n));
		input = span_from(input, n + 1);
	}
}

bool
table_command_query_input(const struct table_command *c, bool *ret_found, struct err *err)
{
	struct table_questions q = {.command = c, .ok = true, .err = err};
	struct buf input CLEANUP(buf_done) = {0};
	size_t opened = 0;

	q.tables = mem_resize(NULL, c->count + 1, sizeof(struct table *));
	while (q.ok && opened < c->count) {
		q.ok = table_command_open(c, c->tables[opened], &q.tables[opened], err);
		opened += q.ok;
	}
	q.ok = q.ok && table_read_input(&input, err);
	if (q.ok)
		table_questions_run(&q, buf_span(&input));
	for (size_t i = 0; i < opened; i++)
		table_close(&q.tables[i]);
	mem_free(q.tables);
	*ret_found = q.found;
	return q.ok;
}

/* ---- -s ----------------------------------------------------------------------------------------------------------- */

static bool
table_command_list_one(void *arg, struct span key, struct span value, struct err *err)
{
	const struct table_command *c = arg;
	struct buf content CLEANUP(buf_done) = {0};

	if (!c->file_values) {
		table_command_print(c, key, value);
		return true;
	}
	if (!table_base64_decode(&content, value))
		return err_set(
		    err, ERR_TEMP, "", "key %.*s: malformed BASE64 value", SPAN_ARG(key));
	table_command_print(c, key, buf_span(&content));
	return true;
}

bool
table_command_list(const struct table_command *c, bool *ret_found, struct err *err)
{
	struct table_command copy = *c;
	struct table *t;
	bool ok;

	/* As in Postfix, what stands behind the first table is not looked at. */
	*ret_found = c->count != 0;
	if (c->count == 0)
		return true;
	if (!table_command_open(c, c->tables[0], &t, err))
		return false;
	/* Tables in memory hold what the files hold. */
	copy.file_values =
	    c->file_values && (t->type->each == table_lmdb_each || t->type == &table_cluster_type);
	if (t->type == &table_cluster_type)
		ok = table_command_cluster_list(c, t->state, table_command_list_one, &copy, err);
	else if (t->type->each == NULL)
		ok = err_set(err, ERR_CONFIG, "", "table %s: sequence operation is not supported",
		    table_name(t));
	else
		ok = t->type->each(t, table_command_list_one, &copy, err);
	table_close(&t);
	return ok;
}
