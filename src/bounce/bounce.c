/*
 * bounce.c - see bounce.h. A notification has the null sender; one about a message that had the null sender itself goes to
 * the postmaster with the double-bounce sender, if he wants it, and about that one nobody is told: no loops.
 */
#include "bounce/bounce.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "bounce/bounce_template.h"
#include "mail/mail_addr.h"
#include "mail/mail_header.h"
#include "mail/mail_log.h"
#include "mail/mail_queue_id.h"
#include "mail/mail_received.h"
#include "mail/mail_report.h"
#include "mail/mail_verp.h"

struct bounce_settings
bounce_settings_from(const struct conf *conf)
{
	return (struct bounce_settings){
	    .hostname = conf_str(conf, CONF_myhostname),
	    .origin = conf_str(conf, CONF_myorigin),
	    .mail_name = conf_str(conf, CONF_mail_name),
	    .double_bounce_sender = conf_str(conf, CONF_double_bounce_sender),
	    .bounce_notice = conf_str(conf, CONF_bounce_notice_recipient),
	    .double_bounce_notice = conf_str(conf, CONF_2bounce_notice_recipient),
	    .delay_notice = conf_str(conf, CONF_delay_notice_recipient),
	    .notify_bounce = conf_has(conf, CONF_notify_classes, "bounce"),
	    .notify_double = conf_has(conf, CONF_notify_classes, "2bounce"),
	    .notify_delay = conf_has(conf, CONF_notify_classes, "delay"),
	    .size_limit = conf_size(conf, CONF_bounce_size_limit),
	    .delay_warning = conf_time(conf, CONF_delay_warning_time),
	    .lifetime = conf_time(conf, CONF_maximal_queue_lifetime),
	    .threaded = conf_bool(conf, CONF_enable_threaded_bounces),
	    .smtputf8 = conf_bool(conf, CONF_smtputf8_enable),
	    .verp_bounces = !conf_bool(conf, CONF_disable_verp_bounces),
	    .stamped_ids = !conf_bool(conf, CONF_enable_long_queue_ids),
	    .templates = bounce_template_load(conf),
	};
}

void
bounce_settings_done(struct bounce_settings *s)
{
	bounce_template_free(&s->templates);
}

static enum mail_report_kind
bounce_report_kind(unsigned notify)
{
	if (notify == QUEUE_NOTIFY_DELAY)
		return MAIL_REPORT_DELAY;
	return notify == QUEUE_NOTIFY_SUCCESS ? MAIL_REPORT_SUCCESS : MAIL_REPORT_FAILURE;
}

static const char *
bounce_double_sender(const struct bounce_settings *s, struct arena *arena)
{
	return arena_printf(arena, "%s@%s", s->double_bounce_sender, s->hostname);
}

static const char *
bounce_at_origin(const struct bounce_settings *s, struct arena *arena, const char *local)
{
	return strchr(local, '@') != NULL ? arena_strdup(arena, local)
					  : arena_printf(arena, "%s@%s", local, s->origin);
}

/* What the sender called the recipient (RFC 3461 section 4.2); where he said nothing, the address he gave. */
static struct span
bounce_original(const struct queue_notice *n, struct arena *arena)
{
	struct buf text CLEANUP(buf_done) = {0};

	if (n->dsn_orcpt != NULL && n->dsn_orcpt[0] != '\0')
		return span_str(n->dsn_orcpt);
	/* Nobody gave the recipients of always_bcc and the like. */
	if ((n->orig_addr == NULL && n->dsn_notify == QUEUE_NOTIFY_NEVER) ||
	    (n->orig_addr != NULL && n->orig_addr[0] == '\0'))
		return (struct span){0};
	buf_add_str(&text, "rfc822;");
	mail_addr_quote(&text, span_str(n->orig_addr != NULL ? n->orig_addr : n->addr));
	return span_str(arena_dup(arena, buf_span(&text)));
}

/* What it was expanded from. Owners are told even what did not change, as by Postfix. */
static struct span
bounce_expanded(const struct queue_bounce *b, const struct queue_notice *n)
{
	struct span from = span_str(n->orig_addr);

	return b->owner == NULL && span_equal_nocase_str(from, n->addr) ? (struct span){0} : from;
}

static struct mail_report_rcpt *
bounce_rcpts(const struct queue_bounce *b, struct arena *arena)
{
	struct mail_report_rcpt *rcpts = arena_alloc(arena, b->notice_count * sizeof(*rcpts));

	for (size_t i = 0; i < b->notice_count; i++) {
		const struct queue_notice *n = &b->notices[i];

		rcpts[i] = (struct mail_report_rcpt){
		    .final = span_str(n->addr),
		    .original = bounce_original(n, arena),
		    .orig_addr = bounce_expanded(b, n),
		    .action = n->action,
		    .dsn = n->dsn,
		    .text = span_str(n->text),
		    .remote_mta = span_str(n->remote_mta),
		    .diagnostic = span_str(n->diagnostic),
		    .retry_until = b->kind == QUEUE_NOTIFY_DELAY ? n->expires_at / CLOCK_SECOND : 0,
		};
	}
	return rcpts;
}

/* One report about a message. */
struct bounce_report {
	int64_t msg_id;     /* its own */
	const char *sender; /* "": null sender */
	const char *to;
	bool for_postmaster;
	bool headers_only;
};

static struct mail_report
bounce_describe(const struct bounce_settings *s, const struct queue_bounce *b,
    const struct bounce_report *r, int64_t now, struct arena *arena)
{
	const struct queue_envelope *e = b->envelope;
	enum mail_report_kind kind = bounce_report_kind(b->kind);

	if (kind == MAIL_REPORT_SUCCESS && queue_envelope_attr(e, "trace").len != 0)
		kind = MAIL_REPORT_VERIFY;
	return (struct mail_report){
	    .kind = kind,
	    .settings =
		{
		    .host = s->hostname,
		    .origin = s->origin,
		    .mail_name = s->mail_name,
		    .delay_warning = s->delay_warning / CLOCK_SECOND,
		    .max_lifetime = s->lifetime / CLOCK_SECOND,
		    .threaded = s->threaded,
		    .msgid_stamp = s->stamped_ids,
		    .ascii = !s->smtputf8,
		    .only_7bit =
			!s->smtputf8 && !span_equal_str(queue_envelope_attr(e, "encoding"), "8bit"),
		    .template = bounce_template_of(s->templates, kind),
		},
	    .now = now / CLOCK_SECOND,
	    .to = span_str(r->to),
	    .for_postmaster = r->for_postmaster,
	    .sender = span_str(e->sender),
	    .envid = queue_envelope_attr(e, "envid"),
	    .arrival = e->arrival / CLOCK_SECOND,
	    .smtputf8 = queue_envelope_attr(e, "smtputf8").len != 0,
	    .headers_only = r->headers_only || !b->content_is_all || e->size > s->size_limit,
	    .content = b->content,
	    .rcpts = bounce_rcpts(b, arena),
	    .rcpt_count = b->notice_count,
	};
}

/* A header of the returned message counts as one of ours: who does not take UTF-8 there does not get the report. */
static bool
bounce_header_is_ascii(const struct queue_bounce *b)
{
	const char *end = memmem(b->content.ptr, b->content.len, "\n\n", 2);

	return utf8_is_ascii(
	    end != NULL ? span_head(b->content, (size_t)(end - b->content.ptr)) : b->content);
}

/* The address as it is, where its quoted form is another one: that is what Postfix's bounces say. NULL: nothing need be said. */
static const char *
bounce_own_orcpt(const char *addr, struct arena *arena)
{
	struct buf quoted CLEANUP(buf_done) = {0};

	mail_addr_quote(&quoted, span_str(addr));
	return strcmp(buf_str(&quoted), addr) != 0 ? arena_printf(arena, "rfc822;%s", addr) : NULL;
}

/* The report as a message of its own. */
static void
bounce_write(const struct bounce_settings *s, const struct queue_bounce *b,
    const struct bounce_report *r, struct queue_message *ret, struct arena *arena)
{
	char old_id[MAIL_QUEUE_ID_SIZE];
	char new_id[MAIL_QUEUE_ID_SIZE];
	struct buf text CLEANUP(buf_done) = {0};
	int64_t now = clock_real_us();
	struct queue_rcpt *rcpt = arena_new(arena, struct queue_rcpt);
	struct queue_attr *attrs = arena_alloc(arena, 2 * sizeof(*attrs));
	size_t attr_count = 0;
	struct mail_report report = bounce_describe(s, b, r, now, arena);

	mail_queue_id_format(b->envelope->msg_id, old_id);
	mail_queue_id_format(r->msg_id, new_id);
	report.queue_id = old_id;
	report.new_id = new_id;
	mail_received_write_internal(&text, s->hostname, s->mail_name, new_id, now / CLOCK_SECOND);
	mail_report_write(&text, &report);
	rcpt->addr = r->to;
	rcpt->dsn_orcpt = bounce_own_orcpt(r->to, arena);
	if (!report.settings.only_7bit)
		attrs[attr_count++] = (struct queue_attr){SPAN_LIT("encoding"), SPAN_LIT("8bit")};
	if (report.smtputf8)
		attrs[attr_count++] = (struct queue_attr){SPAN_LIT("smtputf8"),
		    bounce_header_is_ascii(b) ? SPAN_LIT("yes") : SPAN_LIT("header")};
	*ret = (struct queue_message){
	    .envelope =
		{
		    .msg_id = r->msg_id,
		    .sender = r->sender,
		    .arrival = now,
		    .size = text.len,
		    .attrs = attrs,
		    .attr_count = attr_count,
		    .rcpts = rcpt,
		    .rcpt_count = 1,
		},
	    .content = span_of(arena_dup(arena, buf_span(&text)), text.len),
	};
}

static void
bounce_log(const struct queue_bounce *b, const struct bounce_report *r)
{
	struct buf line CLEANUP(buf_done) = {0};
	char old_id[MAIL_QUEUE_ID_SIZE];
	char new_id[MAIL_QUEUE_ID_SIZE];
	enum mail_log_notice kind;

	if (b->kind == QUEUE_NOTIFY_DELAY)
		kind = r->for_postmaster ? MAIL_LOG_POSTMASTER_DELAY : MAIL_LOG_SENDER_DELAY;
	else if (b->kind == QUEUE_NOTIFY_SUCCESS)
		kind = MAIL_LOG_SENDER_SUCCESS;
	else
		kind = r->for_postmaster ? MAIL_LOG_POSTMASTER_FAILURE : MAIL_LOG_SENDER_FAILURE;
	mail_queue_id_format(b->envelope->msg_id, old_id);
	mail_queue_id_format(r->msg_id, new_id);
	mail_log_notice(&line, old_id, kind, new_id);
	log_info_as("bounce", "%s", buf_str(&line));
}

/* Whom else notify_classes wants told; NULL: nobody. */
static const char *
bounce_copy_to(const struct bounce_settings *s, const struct queue_bounce *b)
{
	if (b->kind == QUEUE_NOTIFY_FAILURE && s->notify_bounce)
		return s->bounce_notice;
	return b->kind == QUEUE_NOTIFY_DELAY && s->notify_delay ? s->delay_notice : NULL;
}

/* The sender; with VERP he is told of one recipient at a time, under the address that was used for it. */
static const char *
bounce_return_path(
    const struct bounce_settings *s, const struct queue_bounce *b, struct arena *arena)
{
	const struct queue_notice *n = &b->notices[0];
	struct buf verp CLEANUP(buf_done) = {0};

	if (!s->verp_bounces || b->kind != QUEUE_NOTIFY_FAILURE || b->notice_count != 1 ||
	    !mail_verp_write(&verp, queue_envelope_attr(b->envelope, "verp"),
		span_str(b->envelope->sender),
		span_str(n->orig_addr != NULL ? n->orig_addr : n->addr)))
		return arena_strdup(arena, b->envelope->sender);
	return arena_dup(arena, buf_span(&verp));
}

/* Who is to be told; at most two reports. */
static size_t
bounce_reports(const struct bounce_settings *s, const struct queue_bounce *b, const int64_t *ids,
    struct bounce_report ret[2], struct arena *arena)
{
	const char *sender = b->owner != NULL ? b->owner : b->envelope->sender;
	const char *copy_to = bounce_copy_to(s, b);
	const char *postmaster = bounce_double_sender(s, arena);
	char id[MAIL_QUEUE_ID_SIZE];

	if (span_equal_nocase_str(span_str(sender), postmaster)) {
		mail_queue_id_format(b->envelope->msg_id, id);
		log_info_as(
		    "bounce", "warning: %s: undeliverable postmaster notification discarded", id);
		return 0;
	}
	if (sender[0] == '\0') {
		if (b->kind == QUEUE_NOTIFY_DELAY || !s->notify_double)
			return 0;
		ret[0] = (struct bounce_report){
		    .msg_id = ids[0],
		    .sender = postmaster,
		    .to = bounce_at_origin(s, arena, s->double_bounce_notice),
		    .for_postmaster = b->kind == QUEUE_NOTIFY_FAILURE,
		    .headers_only = b->kind != QUEUE_NOTIFY_FAILURE,
		};
		return 1;
	}
	ret[0] = (struct bounce_report){
	    .msg_id = ids[0],
	    .sender = "",
	    .to = b->owner != NULL ? b->owner : bounce_return_path(s, b, arena),
	    .headers_only = b->kind != QUEUE_NOTIFY_FAILURE ||
			    span_equal_str(queue_envelope_attr(b->envelope, "ret"), "HDRS"),
	};
	if (copy_to == NULL)
		return 1;
	ret[1] = (struct bounce_report){
	    .msg_id = ids[1],
	    .sender = postmaster,
	    .to = bounce_at_origin(s, arena, copy_to),
	    .for_postmaster = true,
	    .headers_only = true,
	};
	return 2;
}

void
bounce_log_id(const struct queue_message *m)
{
	char queue_id[MAIL_QUEUE_ID_SIZE];
	struct mail_header header;

	mail_queue_id_format(m->envelope.msg_id, queue_id);
	if (mail_header_find(m->content, "Message-Id", &header))
		log_info_as(
		    "cleanup", "%s: message-id=%.*s", queue_id, SPAN_ARG(span_trim(header.value)));
	else
		log_info_as("cleanup", "%s: message-id=<>", queue_id);
}

size_t
bounce_compose(const struct bounce_settings *s, const struct queue_bounce *b, const int64_t *ids,
    struct queue_message *ret, size_t max, struct arena *arena)
{
	struct bounce_report reports[2];
	size_t count = bounce_reports(s, b, ids, reports, arena);
	size_t kept = 0;

	MUST(max >= ARRAY_LEN(reports));
	for (size_t i = 0; i < count; i++) {
		bounce_write(s, b, &reports[i], &ret[kept], arena);
		bounce_log(b, &reports[i]);
		if (s->cleanup == NULL)
			bounce_log_id(&ret[kept]);
		if (s->cleanup == NULL || s->cleanup(s->cleanup_arg, &ret[kept], arena))
			kept++;
	}
	return kept;
}
