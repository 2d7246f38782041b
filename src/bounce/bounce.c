/*
 * bounce.c - see bounce.h. A notification has the null sender; one about a message that had the null sender itself goes to
 * the postmaster with the double-bounce sender, if he wants it, and about that one nobody is told: no loops.
 */
#include "bounce/bounce.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/mail_log.h"
#include "mail/mail_queue_id.h"
#include "mail/mail_received.h"
#include "mail/mail_report.h"

struct bounce_settings
bounce_settings_from(const struct conf *conf)
{
	return (struct bounce_settings){
	    .hostname = conf_str(conf, CONF_myhostname),
	    .origin = conf_str(conf, CONF_myorigin),
	    .mail_name = conf_str(conf, CONF_mail_name),
	    .double_bounce_sender = conf_str(conf, CONF_double_bounce_sender),
	    .double_bounce_notice = conf_str(conf, CONF_2bounce_notice_recipient),
	    .notify_double = conf_has(conf, CONF_notify_classes, "2bounce") ||
			     conf_has(conf, CONF_notify_classes, "bounce"),
	    .size_limit = conf_size(conf, CONF_bounce_size_limit),
	    .delay_warning = conf_time(conf, CONF_delay_warning_time),
	    .lifetime = conf_time(conf, CONF_maximal_queue_lifetime),
	    .threaded = conf_bool(conf, CONF_enable_threaded_bounces),
	};
}

static enum mail_report_kind
bounce_report_kind(unsigned notify)
{
	if (notify == QUEUE_NOTIFY_DELAY)
		return MAIL_REPORT_DELAY;
	return notify == QUEUE_NOTIFY_SUCCESS ? MAIL_REPORT_SUCCESS : MAIL_REPORT_FAILURE;
}

/* Is it one of our own double bounces, about which nobody is told? */
static bool
bounce_is_double(const struct bounce_settings *s, const char *sender)
{
	size_t len = strlen(s->double_bounce_sender);

	return strncmp(sender, s->double_bounce_sender, len) == 0 &&
	       (sender[len] == '@' || sender[len] == '\0');
}

static const char *
bounce_at_origin(const struct bounce_settings *s, struct arena *arena, const char *local)
{
	return strchr(local, '@') != NULL ? local : arena_printf(arena, "%s@%s", local, s->origin);
}

static struct mail_report_rcpt *
bounce_rcpts(const struct queue_bounce *b, struct arena *arena)
{
	struct mail_report_rcpt *rcpts = arena_alloc(arena, b->notice_count * sizeof(*rcpts));

	for (size_t i = 0; i < b->notice_count; i++) {
		const struct queue_notice *n = &b->notices[i];

		rcpts[i] = (struct mail_report_rcpt){
		    .final = span_str(n->addr),
		    .original = span_str(n->dsn_orcpt),
		    .orig_addr = span_str(n->orig_addr),
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

/* Composes one report to `to` as the content of `ret`. */
static void
bounce_write(const struct bounce_settings *s, const struct queue_bounce *b, int64_t msg_id,
    const char *sender, const char *to, bool for_postmaster, struct queue_message *ret,
    struct arena *arena)
{
	char old_id[MAIL_QUEUE_ID_SIZE];
	char new_id[MAIL_QUEUE_ID_SIZE];
	struct buf text = {0};
	int64_t now = clock_real_us();
	struct queue_rcpt *rcpt = arena_new(arena, struct queue_rcpt);
	struct mail_report report = {
	    .kind = bounce_report_kind(b->kind),
	    .settings =
		{
		    .host = s->hostname,
		    .origin = s->origin,
		    .mail_name = s->mail_name,
		    .delay_warning = s->delay_warning / CLOCK_SECOND,
		    .max_lifetime = s->lifetime / CLOCK_SECOND,
		    .threaded = s->threaded,
		},
	    .queue_id = old_id,
	    .new_id = new_id,
	    .now = now / CLOCK_SECOND,
	    .to = span_str(to),
	    .for_postmaster = for_postmaster,
	    .sender = span_str(b->envelope->sender),
	    .envid = queue_envelope_attr(b->envelope, "envid"),
	    .arrival = b->envelope->arrival / CLOCK_SECOND,
	    .headers_only = !b->content_is_all || b->kind == QUEUE_NOTIFY_SUCCESS ||
			    for_postmaster ||
			    span_equal_str(queue_envelope_attr(b->envelope, "ret"), "HDRS"),
	    .content = b->content,
	    .rcpts = bounce_rcpts(b, arena),
	    .rcpt_count = b->notice_count,
	};

	mail_queue_id_format(b->envelope->msg_id, old_id);
	mail_queue_id_format(msg_id, new_id);
	mail_received_write_internal(&text, s->hostname, s->mail_name, new_id, now / CLOCK_SECOND);
	mail_report_write(&text, &report);
	rcpt->addr = to;
	*ret = (struct queue_message){
	    .envelope =
		{
		    .msg_id = msg_id,
		    .sender = sender,
		    .arrival = now,
		    .size = text.len,
		    .rcpts = rcpt,
		    .rcpt_count = 1,
		},
	    .content = span_of(arena_dup(arena, buf_span(&text)), text.len),
	};
	buf_done(&text);
}

static void
bounce_log(const struct queue_bounce *b, int64_t new_msg_id, bool for_postmaster)
{
	struct buf line CLEANUP(buf_done) = {0};
	char old_id[MAIL_QUEUE_ID_SIZE];
	char new_id[MAIL_QUEUE_ID_SIZE];
	enum mail_log_notice kind = b->kind == QUEUE_NOTIFY_DELAY     ? MAIL_LOG_SENDER_DELAY
				    : b->kind == QUEUE_NOTIFY_SUCCESS ? MAIL_LOG_SENDER_SUCCESS
								      : MAIL_LOG_SENDER_FAILURE;

	if (for_postmaster)
		kind = MAIL_LOG_POSTMASTER_FAILURE;
	mail_queue_id_format(b->envelope->msg_id, old_id);
	mail_queue_id_format(new_msg_id, new_id);
	mail_log_notice(&line, old_id, kind, new_id);
	log_info_as("bounce", "%s", buf_str(&line));
}

size_t
bounce_compose(const struct bounce_settings *s, const struct queue_bounce *b, const int64_t *ids,
    struct queue_message *ret, size_t max, struct arena *arena)
{
	const char *sender = b->envelope->sender;

	MUST(max > 0);
	if (bounce_is_double(s, sender))
		return 0;
	if (sender[0] != '\0') {
		bounce_write(s, b, ids[0], "", arena_strdup(arena, sender), false, &ret[0], arena);
		bounce_log(b, ids[0], false);
		return 1;
	}
	if (b->kind != QUEUE_NOTIFY_FAILURE || !s->notify_double)
		return 0;
	bounce_write(s, b, ids[0], bounce_at_origin(s, arena, s->double_bounce_sender),
	    bounce_at_origin(s, arena, s->double_bounce_notice), true, &ret[0], arena);
	bounce_log(b, ids[0], true);
	return 1;
}
