/*
 * mail_log.c - see mail_log.h. Everything is appended piece by piece; nothing here allocates by itself.
 */
#include "mail/mail_log.h"

#include <ctype.h>

#include "base/clock.h"
#include "mail/mail_addr.h"

static void
mail_log_id(struct buf *out, const char *queue_id)
{
	buf_add_str(out, queue_id != NULL ? queue_id : "NOQUEUE");
	buf_add_str(out, ": ");
}

/* "prefix<address>"; nothing when `address` is NULL. */
static void
mail_log_address(struct buf *out, const char *prefix, const char *address)
{
	if (address == NULL)
		return;
	buf_add_str(out, prefix);
	buf_add_char(out, '<');
	mail_addr_quote(out, span_str(address));
	buf_add_char(out, '>');
}

/* "prefix" and the text; nothing when it is NULL. */
static void
mail_log_field(struct buf *out, const char *prefix, const char *text)
{
	if (text == NULL)
		return;
	buf_add_str(out, prefix);
	buf_add_str(out, text);
}

void
mail_log_client(struct buf *out, const struct mail_log_client *client)
{
	buf_add_str(out, client->name);
	buf_add_char(out, '[');
	buf_add_str(out, client->addr);
	buf_add_char(out, ']');
	mail_log_field(out, ":", client->port);
}

/* ---- smtpd ---- */

void
mail_log_connect(struct buf *out, const struct mail_log_client *client)
{
	buf_add_str(out, "connect from ");
	mail_log_client(out, client);
}

static void
mail_log_count(struct buf *out, unsigned good, unsigned all)
{
	if (good != all)
		buf_printf(out, "%u/%u", good, all);
	else
		buf_printf(out, "%u", all);
}

void
mail_log_disconnect(struct buf *out, const struct mail_log_client *client,
    const struct mail_log_command *commands, size_t count)
{
	unsigned good = 0;
	unsigned all = 0;

	buf_add_str(out, "disconnect from ");
	mail_log_client(out, client);
	for (size_t i = 0; i < count; i++) {
		if (commands[i].all == 0)
			continue;
		good += commands[i].good;
		all += commands[i].all;
		buf_add_char(out, ' ');
		for (const char *p = commands[i].name; *p != '\0'; p++)
			buf_add_char(out, (char)tolower((unsigned char)*p));
		buf_add_char(out, '=');
		mail_log_count(out, commands[i].good, commands[i].all);
	}
	buf_add_str(out, " commands=");
	if (all == 0)
		buf_add_str(out, "0/0");
	else
		mail_log_count(out, good, all);
}

void
mail_log_accept(struct buf *out, const struct mail_log_accept *accept)
{
	mail_log_id(out, accept->queue_id);
	buf_add_str(out, "client=");
	mail_log_client(out, &accept->client);
	mail_log_field(out, ", sasl_method=", accept->sasl_method);
	mail_log_field(out, ", sasl_username=", accept->sasl_username);
	mail_log_field(out, ", sasl_sender=", accept->sasl_sender);
	mail_log_field(out, ", orig_queue_id=", accept->orig_queue_id);
	if (accept->orig_client.name != NULL) {
		buf_add_str(out, ", orig_client=");
		mail_log_client(out, &accept->orig_client);
	}
}

/* "; from=<s> to=<r> proto=P helo=<h>": what is known, separated by blanks. */
static void
mail_log_whatsup(
    struct buf *out, const char *sender, const char *recipient, const char *proto, const char *helo)
{
	size_t begin = out->len;

	mail_log_address(out, " from=", sender);
	mail_log_address(out, " to=", recipient);
	mail_log_field(out, " proto=", proto);
	if (helo != NULL)
		buf_printf(out, " helo=<%s>", helo);
	if (out->len == begin)
		return;
	buf_add_char(out, ' ');
	memmove(out->ptr + begin + 1, out->ptr + begin, out->len - begin - 1);
	out->ptr[begin] = ';';
}

void
mail_log_reject(struct buf *out, const struct mail_log_reject *reject)
{
	mail_log_id(out, reject->queue_id);
	buf_printf(out, "%s: %s from ", reject->action, reject->stage);
	mail_log_client(out, &reject->client);
	buf_add_str(out, ": ");
	buf_add_span(out, reject->text);
	mail_log_whatsup(out, reject->sender, reject->recipient, reject->proto, reject->helo);
}

void
mail_log_lost(struct buf *out, const char *why, const char *stage, int64_t bytes,
    const struct mail_log_client *client)
{
	buf_printf(out, "%s after %s", why, stage);
	if (bytes >= 0)
		buf_printf(out, " (%lld bytes)", (long long)bytes);
	buf_add_str(out, " from ");
	mail_log_client(out, client);
}

/* Backslash escapes, so that a line end of the peer can be seen. */
static void
mail_log_escaped(struct buf *out, struct span text)
{
	static const char from[] = "\a\b\f\n\r\t\v\\";
	static const char to[] = "abfnrtv\\";

	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];
		const char *known = c != '\0' ? strchr(from, c) : NULL;

		if (known != NULL)
			buf_printf(out, "\\%c", to[known - from]);
		else if (isprint(c))
			buf_add_char(out, (char)c);
		else
			buf_printf(out, "\\%03o", c);
	}
}

void
mail_log_pipelining(
    struct buf *out, const char *stage, const struct mail_log_client *client, struct span text)
{
	buf_printf(out, "improper command pipelining after %s from ", stage);
	mail_log_client(out, client);
	buf_add_str(out, ": ");
	mail_log_escaped(out, span_head(text, 100));
}

void
mail_log_non_smtp(struct buf *out, const struct mail_log_client *client, struct span text)
{
	buf_add_str(out, "non-SMTP command from ");
	mail_log_client(out, client);
	buf_add_str(out, ": ");
	buf_add_span(out, span_head(text, 100));
}

/* ---- cleanup, pickup ---- */

void
mail_log_content(struct buf *out, const struct mail_log_content *content)
{
	mail_log_id(out, content->queue_id);
	buf_printf(out, "%s: %s ", content->action, content->what);
	buf_add_span(out, span_head(content->content, 200));
	buf_printf(out, " from %s", content->origin);
	mail_log_whatsup(out, content->sender, content->recipient, content->proto, content->helo);
	if (content->text.len != 0) {
		buf_add_str(out, ": ");
		buf_add_span(out, content->text);
	}
}

void
mail_log_pickup(
    struct buf *out, const char *queue_id, unsigned uid, const char *sender, const char *old_id)
{
	mail_log_id(out, queue_id);
	buf_printf(out, "uid=%u", uid);
	mail_log_address(out, " from=", sender);
	mail_log_field(out, " orig_id=", old_id);
}

/* ---- qmgr ---- */

void
mail_log_active(
    struct buf *out, const char *queue_id, const char *sender, uint64_t size, uint64_t rcpt_count)
{
	mail_log_id(out, queue_id);
	mail_log_address(out, "from=", sender);
	buf_printf(out, ", size=%llu, nrcpt=%llu (queue active)", (unsigned long long)size,
	    (unsigned long long)rcpt_count);
}

void
mail_log_removed(struct buf *out, const char *queue_id)
{
	mail_log_id(out, queue_id);
	buf_add_str(out, "removed");
}

void
mail_log_expired(struct buf *out, const char *queue_id, const char *sender, bool forced)
{
	mail_log_id(out, queue_id);
	mail_log_address(out, "from=", sender);
	buf_printf(out, ", status=%sexpired, returned to sender", forced ? "force-" : "");
}

/* ---- delivery ---- */

/* How many decimals give `us` two significant digits. */
static int
mail_log_decimals(int64_t us, int max_decimals)
{
	int64_t unit = 10 * CLOCK_SECOND; /* two digits before the point: no decimals */
	int decimals = 0;

	while (decimals < max_decimals && us < unit && unit > 1) {
		decimals++;
		unit /= 10;
	}
	return decimals;
}

void
mail_log_seconds(struct buf *out, int64_t us, int max_decimals)
{
	static const int64_t powers[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	int decimals;
	int64_t unit;

	if (us < 0)
		us = 0;
	max_decimals = MAX(0, MIN(max_decimals, 6));
	decimals = mail_log_decimals(us, max_decimals);
	unit = powers[decimals];
	us = (us + unit / 2) / unit * unit;
	buf_printf(out, "%lld", (long long)(us / CLOCK_SECOND));
	us %= CLOCK_SECOND;
	if (us >= unit && us != 0) {
		buf_add_char(out, '.');
		for (int64_t place = CLOCK_SECOND / 10; us >= unit && place > 0; place /= 10) {
			buf_add_char(out, (char)('0' + us / place));
			us %= place;
		}
	}
}

static void
mail_log_delays(struct buf *out, const struct mail_log_times *t)
{
	int64_t active = t->active != 0 ? t->active : t->arrival;
	int64_t handed = t->handed != 0 ? t->handed : t->done;
	int64_t connected = t->connected != 0 ? t->connected : handed;

	buf_add_str(out, ", delay=");
	mail_log_seconds(out, t->done - t->arrival, 2);
	buf_add_str(out, ", delays=");
	mail_log_seconds(out, active - t->arrival, 2);
	buf_add_char(out, '/');
	mail_log_seconds(out, handed - active, 2);
	buf_add_char(out, '/');
	mail_log_seconds(out, connected - handed, 2);
	buf_add_char(out, '/');
	mail_log_seconds(out, t->done - connected, 2);
}

void
mail_log_delivery(struct buf *out, const struct mail_log_delivery *delivery)
{
	const char *orig = delivery->orig_recipient;

	mail_log_id(out, delivery->queue_id);
	mail_log_address(out, "to=", delivery->recipient);
	if (orig != NULL && orig[0] != '\0' &&
	    !span_equal_nocase_str(span_str(delivery->recipient), orig))
		mail_log_address(out, ", orig_to=", orig);
	mail_log_field(out, ", relay=", delivery->relay != NULL ? delivery->relay : "none");
	if (delivery->conn_use > 1)
		buf_printf(out, ", conn_use=%u", delivery->conn_use);
	mail_log_delays(out, &delivery->times);
	buf_printf(out, ", dsn=%s, status=%s (", delivery->dsn, delivery->status);
	buf_add_span(out, delivery->text);
	buf_add_char(out, ')');
}

/* ---- bounce ---- */

void
mail_log_notice(
    struct buf *out, const char *queue_id, enum mail_log_notice kind, const char *new_id)
{
	static const char *const texts[] = {
	    [MAIL_LOG_SENDER_FAILURE] = "sender non-delivery notification",
	    [MAIL_LOG_SENDER_DELAY] = "sender delay notification",
	    [MAIL_LOG_SENDER_SUCCESS] = "sender delivery status notification",
	    [MAIL_LOG_POSTMASTER_FAILURE] = "postmaster non-delivery notification",
	    [MAIL_LOG_POSTMASTER_DELAY] = "postmaster delay notification",
	};

	mail_log_id(out, queue_id);
	buf_printf(out, "%s: %s", texts[kind], new_id);
}
