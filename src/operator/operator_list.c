/*
 * operator_list.c - see operator_list.h. The shapes are Postfix's to the byte: scripts cut them up by column and by
 * pattern.
 */
#include "operator/operator_list.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "mail/mail_addr.h"
#include "mail/mail_queue_id.h"
#include "operator/operator_maildrop.h"

/* Printed when so much text has gathered. */
#define GATHER 65536

/* A reason is set to the right, so that it ends where the table ends. */
#define REASON_COLUMN 76

#define NULL_SENDER "MAILER-DAEMON"

void
operator_list_done(struct operator_list *l)
{
	buf_done(&l->reason);
}

/* ---- table -------------------------------------------------------------------------------------------------- */

/* Peers have a say in reasons and addresses: nothing that a terminal obeys comes through. */
static void
add_printable(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		buf_add_char(out, c < ' ' || c == 0x7f ? '?' : text.ptr[i]);
	}
}

static void
add_address(struct buf *out, const char *internal)
{
	struct buf external CLEANUP(buf_done) = {0};

	mail_addr_quote(&external, span_str(internal));
	add_printable(out, buf_span(&external));
}

static void
table_head(const struct operator_list *l, struct buf *out)
{
	if (l->form == OPERATOR_LIST_LONG)
		buf_add_str(out, "----Queue ID----- --Size-- ---Arrival Time---- "
				 "--Sender/Recipient------\n");
	else
		buf_add_str(out, "-Queue ID-  --Size-- ----Arrival Time---- "
				 "-Sender/Recipient-------\n");
}

static void
message_id(const struct operator_list *l, const struct queue_list_row *row, char *ret, size_t size)
{
	if (l->file != NULL)
		(void)snprintf(ret, size, "%s", l->file);
	else
		mail_queue_id_format(row->msg_id, ret);
}

static void
table_message(const struct operator_list *l, const struct queue_list_row *row, struct buf *out)
{
	char id[MAIL_QUEUE_ID_SIZE + 64];
	char when[32];
	size_t len;

	message_id(l, row, id, sizeof(id) - 2);
	len = strlen(id);
	if (row->place == QUEUE_ACTIVE)
		id[len++] = '*';
	else if (row->place == QUEUE_HOLD)
		id[len++] = '!';
	if (row->forced_expire)
		id[len++] = '#';
	id[len] = '\0';
	clock_format_local(row->arrival / CLOCK_SECOND, "%a %b %e %H:%M:%S ", when, sizeof(when));
	buf_printf(out, l->form == OPERATOR_LIST_LONG ? "%-17s %8llu %.19s " : "%-11s %7llu %s ",
	    id, (unsigned long long)row->size, when);
	if (row->sender[0] != '\0')
		add_address(out, row->sender);
	else
		buf_add_str(out, NULL_SENDER);
	buf_add_char(out, '\n');
}

static void
table_recipient(struct operator_list *l, const struct queue_list_row *row, struct buf *out)
{
	struct buf *last = &l->reason;

	if (!span_equal_str(buf_span(last), row->reason)) {
		struct span reason = span_str(row->reason);

		buf_clear(last);
		buf_add_span(last, reason);
		if (reason.len == 0)
			reason = SPAN_LIT("reason unavailable");
		buf_printf(out, "%*s(",
		    reason.len < REASON_COLUMN ? (int)(REASON_COLUMN - reason.len) : 0, "");
		add_printable(out, reason);
		buf_add_str(out, ")\n");
	}
	buf_printf(out, "%*s", l->form == OPERATOR_LIST_LONG ? 47 : 41, "");
	add_address(out, row->addr);
	buf_add_char(out, '\n');
}

static void
table_end(const struct operator_list *l, struct buf *out)
{
	if (l->messages == 0)
		buf_add_str(out, "Mail queue is empty\n");
	else
		buf_printf(out, "-- %llu Kbytes in %llu Request%s.\n",
		    (unsigned long long)(l->bytes / 1024), (unsigned long long)l->messages,
		    l->messages == 1 ? "" : "s");
}

/* ---- JSON (RFC 8259) ---------------------------------------------------------------------------------------- */

static void
json_text(struct buf *out, struct span text)
{
	static const char plain[] = "\b\f\n\r\t\\\"";
	static const char escape[] = "bfnrt\\\"";

	buf_add_char(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];
		const char *at = c != '\0' ? strchr(plain, c) : NULL;

		if (at != NULL)
			buf_printf(out, "\\%c", escape[at - plain]);
		else if (c < ' ' || c == 0x7f)
			buf_printf(out, "\\u%04X", c);
		else
			buf_add_char(out, (char)c);
	}
	buf_add_char(out, '"');
}

static void
json_address(struct buf *out, const char *internal)
{
	struct buf external CLEANUP(buf_done) = {0};

	mail_addr_quote(&external, span_str(internal));
	json_text(out, buf_span(&external));
}

static void
json_message(const struct operator_list *l, const struct queue_list_row *row, struct buf *out)
{
	char id[MAIL_QUEUE_ID_SIZE + 64];

	message_id(l, row, id, sizeof(id));
	buf_printf(out,
	    "{\"queue_name\": \"%s\", \"queue_id\": \"%s\", \"arrival_time\": %lld, "
	    "\"message_size\": %llu, \"forced_expire\": %s, \"sender\": ",
	    l->file != NULL ? "maildrop" : queue_place_name(row->place), id,
	    (long long)(row->arrival / CLOCK_SECOND), (unsigned long long)row->size,
	    row->forced_expire ? "true" : "false");
	if (row->sender[0] != '\0')
		json_address(out, row->sender);
	else
		buf_add_str(out, "\"" NULL_SENDER "\"");
	buf_add_str(out, ", \"recipients\": [");
}

static void
json_recipient(const struct operator_list *l, const struct queue_list_row *row, struct buf *out)
{
	buf_add_str(out, l->recipients > 0 ? ", {\"address\": " : "{\"address\": ");
	json_address(out, row->addr);
	if (row->reason[0] != '\0') {
		buf_add_str(out, ", \"delay_reason\": ");
		json_text(out, span_str(row->reason));
	}
	buf_add_char(out, '}');
}

/* ---- both --------------------------------------------------------------------------------------------------- */

static void
message_end(struct operator_list *l, struct buf *out)
{
	if (l->open)
		buf_add_str(out, l->form == OPERATOR_LIST_JSON ? "]}\n" : "\n");
	l->open = false;
}

static void
message_begin(struct operator_list *l, const struct queue_list_row *row, struct buf *out)
{
	message_end(l, out);
	if (l->form == OPERATOR_LIST_JSON) {
		json_message(l, row, out);
	} else {
		if (l->messages == 0)
			table_head(l, out);
		table_message(l, row, out);
	}
	l->open = true;
	l->place = row->place;
	l->msg_id = row->msg_id;
	l->recipients = 0;
	buf_clear(&l->reason);
	l->messages++;
	l->bytes += row->size;
}

void
operator_list_row(struct operator_list *l, const struct queue_list_row *row, struct buf *out)
{
	if (!l->open || l->msg_id != row->msg_id || l->place != row->place)
		message_begin(l, row, out);
	if (l->form == OPERATOR_LIST_JSON)
		json_recipient(l, row, out);
	else
		table_recipient(l, row, out);
	l->recipients++;
}

void
operator_list_end(struct operator_list *l, struct buf *out)
{
	message_end(l, out);
	if (l->form != OPERATOR_LIST_JSON)
		table_end(l, out);
}

/* ---- from the databases ------------------------------------------------------------------------------------- */

static bool
list_shard(struct operator_list *l, struct db_conn *conn, struct buf *out, struct err *err)
{
	struct queue_list *rows CLEANUP(queue_list_free) =
	    queue_list_new(conn, &(struct queue_list_filter){0});
	struct queue_list_row row;
	bool end = false;

	for (;;) {
		if (!queue_list_next(rows, clock_deadline(OPERATOR_PATIENCE), &row, &end, err))
			return false;
		if (end)
			return true;
		operator_list_row(l, &row, out);
		if (out->len < GATHER)
			continue;
		operator_session_print(out->ptr, out->len);
		buf_clear(out);
	}
}

enum operator_list_form
operator_list_table(const struct conf *c)
{
	return conf_bool(c, CONF_enable_long_queue_ids) ? OPERATOR_LIST_LONG : OPERATOR_LIST_SHORT;
}

bool
operator_list_print(struct operator_session *s, enum operator_list_form form, struct err *err)
{
	struct operator_list list CLEANUP(operator_list_done) = {.form = form};
	struct buf out CLEANUP(buf_done) = {0};
	bool good = true;

	operator_maildrop_list(operator_session_conf(s), &list, &out);
	for (size_t i = 0; i < operator_session_shards(s); i++) {
		struct db_conn *conn = operator_session_conn(s, i, err);

		if (conn != NULL && list_shard(&list, conn, &out, err))
			continue;
		good = false;
		/* A message that was cut off must not look whole: its brackets stay open. */
		if (list.open)
			buf_add_char(&out, '\n');
		list.open = false;
	}
	if (good)
		operator_list_end(&list, &out);
	operator_session_print(buf_str(&out), out.len);
	return good;
}
