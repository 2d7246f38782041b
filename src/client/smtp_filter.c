/*
 * smtp_filter.c - see smtp_filter.h.
 */
#include "client/smtp_filter.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_dsn.h"
#include "table/table.h"

struct smtp_filter {
	struct conf *conf; /* borrowed from the setup */
	bool lmtp;
	struct table_list *reply;
	struct table_list *status;
	struct table_list *dns;
	struct table_list *discard;
	struct table_list *pix;
};

struct smtp_filter *
smtp_filter_new(struct conf *conf, bool lmtp)
{
	struct smtp_filter *f = mem_new(struct smtp_filter);

	f->conf = conf;
	f->lmtp = lmtp;
	f->reply = table_list_of(conf, lmtp ? CONF_lmtp_reply_filter : CONF_smtp_reply_filter, 0);
	f->status = table_list_of(
	    conf, lmtp ? CONF_lmtp_delivery_status_filter : CONF_smtp_delivery_status_filter, 0);
	f->dns =
	    table_list_of(conf, lmtp ? CONF_lmtp_dns_reply_filter : CONF_smtp_dns_reply_filter, 0);
	f->discard = table_list_of(conf,
	    lmtp ? CONF_lmtp_discard_lhlo_keyword_address_maps
		 : CONF_smtp_discard_ehlo_keyword_address_maps,
	    0);
	f->pix = table_list_of(
	    conf, lmtp ? CONF_lmtp_pix_workaround_maps : CONF_smtp_pix_workaround_maps, 0);
	return f;
}

void
smtp_filter_free(struct smtp_filter **filter)
{
	struct smtp_filter *f = *filter;

	*filter = NULL;
	if (f == NULL)
		return;
	table_list_close(&f->reply);
	table_list_close(&f->status);
	table_list_close(&f->dns);
	table_list_close(&f->discard);
	table_list_close(&f->pix);
	mem_free(f);
}

bool
smtp_filter_reply(struct smtp_filter *f, struct span *line, struct buf *buf)
{
	struct err err;

	if (table_list_is_empty(f->reply))
		return true;
	switch (table_list_lookup(f->reply, *line, TABLE_KEY_FULL, buf, &err)) {
	case TABLE_FOUND:
		*line = buf_span(buf);
		return true;
	case TABLE_NOT_FOUND:
		return true;
	case TABLE_ERROR:
		break;
	}
	return false;
}

/* ---- delivery status ------------------------------------------------------------------------------------------ */

/* Success must not become failure, nor the other way round: the mail is there, or it is not. */
static bool
smtp_filter_status_is_good(const char *before, const char *after)
{
	return mail_dsn_class(after) != 0 && (before[0] == '2') == (after[0] == '2');
}

void
smtp_filter_status(struct smtp_filter *f, struct arena *arena, const char **dsn, const char **text)
{
	struct buf key CLEANUP(buf_done) = {0};
	struct buf value CLEANUP(buf_done) = {0};
	char code[MAIL_DSN_SIZE];
	struct span rest;
	struct err err;

	if (table_list_is_empty(f->status))
		return;
	buf_printf(&key, "%s %s", *dsn, *text);
	if (table_list_lookup(f->status, buf_span(&key), TABLE_KEY_FULL, &value, &err) !=
	    TABLE_FOUND)
		return;
	rest = mail_dsn_split(buf_span(&value), "", code);
	if (!smtp_filter_status_is_good(*dsn, code)) {
		log_warn("%s_delivery_status_filter: bad status code: %s",
		    f->lmtp ? "lmtp" : "smtp", buf_str(&value));
		return;
	}
	*dsn = arena_strdup(arena, code);
	*text = arena_dup(arena, rest);
}

/* ---- DNS ------------------------------------------------------------------------------------------------------ */

enum smtp_filter_dns
smtp_filter_dns(
    struct smtp_filter *f, const char *name, uint32_t ttl, const char *type, const char *value)
{
	struct buf key CLEANUP(buf_done) = {0};
	struct buf action CLEANUP(buf_done) = {0};
	struct err err;

	if (table_list_is_empty(f->dns))
		return SMTP_FILTER_DNS_KEEP;
	buf_printf(&key, "%s. %u IN %s %s", name, ttl, type, value);
	switch (table_list_lookup(f->dns, buf_span(&key), TABLE_KEY_FULL, &action, &err)) {
	case TABLE_NOT_FOUND:
		return SMTP_FILTER_DNS_KEEP;
	case TABLE_ERROR:
		return SMTP_FILTER_DNS_BAD;
	case TABLE_FOUND:
		break;
	}
	if (span_equal_nocase_str(span_trim(buf_span(&action)), "IGNORE"))
		return SMTP_FILTER_DNS_DROP;
	log_warn("%s_dns_reply_filter: unknown DNS filter action: \"%s\"",
	    f->lmtp ? "lmtp" : "smtp", buf_str(&action));
	return SMTP_FILTER_DNS_BAD;
}

/* ---- exceptions by server ------------------------------------------------------------------------------------- */

static bool
smtp_filter_by_address(
    struct table_list *list, const char *address, struct buf *ret, bool *ret_trouble)
{
	struct err err;

	*ret_trouble = false;
	if (table_list_is_empty(list))
		return false;
	switch (table_list_lookup(list, span_str(address), TABLE_KEY_FULL, ret, &err)) {
	case TABLE_FOUND:
		return true;
	case TABLE_NOT_FOUND:
		return false;
	case TABLE_ERROR:
		break;
	}
	*ret_trouble = true;
	return false;
}

bool
smtp_filter_discard(struct smtp_filter *f, const char *address, struct buf *ret, bool *ret_trouble)
{
	*ret_trouble = false;
	return smtp_filter_by_address(f->discard, address, ret, ret_trouble);
}

bool
smtp_filter_pix(struct smtp_filter *f, const char *address, struct buf *ret, bool *ret_trouble)
{
	*ret_trouble = false;
	return smtp_filter_by_address(f->pix, address, ret, ret_trouble);
}
