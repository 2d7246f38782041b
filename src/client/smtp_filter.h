/*
 * smtp_filter.h - the tables of the SMTP and LMTP client: what changes replies, outcomes and DNS answers, and what makes
 * exceptions by server. A reload makes others.
 */
#ifndef CLIENT_SMTP_FILTER_H
#define CLIENT_SMTP_FILTER_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"
#include "conf/conf.h"
#include "service/delivery.h"

struct smtp_filter;

/* Opens all tables; `lmtp`: those of lmtp_*. */
struct smtp_filter *smtp_filter_new(struct conf *conf, bool lmtp);
void smtp_filter_free(struct smtp_filter **f);

/*
 * All functions may wait. Table trouble was logged.
 *
 * smtp_reply_filter: *line is replaced by what is in `buf` when the table says so. False: table trouble.
 */
bool smtp_filter_reply(struct smtp_filter *f, struct span *line, struct buf *buf) MUST_CHECK;

/*
 * smtp_delivery_status_filter: "5.1.1 text" may become "4.1.1 other text"; success stays success, failure failure. Results
 * are in `arena`.
 */
void smtp_filter_status(
    struct smtp_filter *f, struct arena *arena, const char **dsn, const char **text);

enum smtp_filter_dns {
	SMTP_FILTER_DNS_KEEP,
	SMTP_FILTER_DNS_DROP,
	SMTP_FILTER_DNS_BAD, /* the table has trouble, or an action that is none */
};
/* smtp_dns_reply_filter: is the record to be used? `type` "MX", `value` "10 mx.example.com.". */
enum smtp_filter_dns smtp_filter_dns(
    struct smtp_filter *f, const char *name, uint32_t ttl, const char *type, const char *value);

/*
 * smtp_discard_ehlo_keyword_address_maps, smtp_pix_workaround_maps: what they say about a server's address. False: nothing,
 * or table trouble (*ret_trouble).
 */
bool smtp_filter_discard(
    struct smtp_filter *f, const char *address, struct buf *ret, bool *ret_trouble);
bool smtp_filter_pix(
    struct smtp_filter *f, const char *address, struct buf *ret, bool *ret_trouble);

#endif
