/*
 * smtpd_notice.c - see smtpd_notice.h. A notice that cannot be queued is not worth more than a line in the log.
 */
#include "smtpd/smtpd_notice.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/mail_queue_id.h"
#include "mail/mail_received.h"
#include "smtpd/smtpd_int.h"

unsigned
smtpd_notice_wanted(const struct conf *conf)
{
	static const struct {
		const char *name;
		unsigned bit;
	} classes[] = {
	    {"bounce", MAIL_TROUBLE_BOUNCE},
	    {"data", MAIL_TROUBLE_DATA},
	    {"policy", MAIL_TROUBLE_POLICY},
	    {"protocol", MAIL_TROUBLE_PROTOCOL},
	    {"resource", MAIL_TROUBLE_RESOURCE},
	    {"software", MAIL_TROUBLE_SOFTWARE},
	};
	unsigned wanted = 0;

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (conf_has(conf, CONF_notify_classes, classes[i].name))
			wanted |= classes[i].bit;
	return wanted;
}

void
smtpd_notice_said(struct smtpd_session *s, struct span reply)
{
	if (s->setup->notify != 0)
		mail_transcript_add(&s->notice.transcript, false, reply);
}

void
smtpd_notice_heard(struct smtpd_session *s, struct span line)
{
	if (s->setup->notify == 0)
		return;
	line = mail_transcript_command(line);
	mail_transcript_add(&s->notice.transcript, true, line.len != 0 ? line : SPAN_LIT("\n"));
}

/* ---- what kind of trouble ---------------------------------------------------------------------------------------- */

static bool
smtpd_dsn_is(const char *dsn, const char *const *list)
{
	for (; *list != NULL; list++)
		if (dsn[0] != '\0' && strncmp(dsn + 1, *list, strlen(*list)) == 0)
			return true;
	return false;
}

static bool
smtpd_in_message(const struct smtpd_session *s)
{
	return s->command == SMTPD_DATA || s->command == SMTPD_BDAT;
}

/* Outside the access rules. */
static unsigned
smtpd_class_of(const struct smtpd_session *s, int code, const char *dsn)
{
	static const char *const bounce[] = {".3.4", ".4.6", NULL};
	static const char *const policy[] = {".3.4", ".7.0", ".7.1", ".6.0", NULL};
	static const char *const resource[] = {".3.0", ".3.1", NULL};
	static const char *const none[] = {".5.3", ".4.2", ".3.2", NULL};

	/* 421 ends what was told before; without a valid recipient each refusal was told. */
	if (code == 421 || smtpd_dsn_is(dsn, none) ||
	    (code == 554 && smtpd_dsn_is(dsn, (const char *const[]){".5.1", NULL})))
		return 0;
	/* A message that is too large, or in a loop, is as if it were returned. */
	if (smtpd_in_message(s) && smtpd_dsn_is(dsn, bounce))
		return MAIL_TROUBLE_BOUNCE;
	if (smtpd_dsn_is(dsn, resource))
		return MAIL_TROUBLE_RESOURCE;
	if (smtpd_dsn_is(dsn, policy) || s->command == SMTPD_VRFY)
		return MAIL_TROUBLE_POLICY;
	return MAIL_TROUBLE_PROTOCOL;
}

void
smtpd_notice_refused(struct smtpd_session *s, int code, const char *dsn)
{
	unsigned class = s->notice.next;

	if (class == 0)
		class = smtpd_class_of(s, code, dsn != NULL ? dsn : "");
	s->notice.troubles |= class;
	s->notice.next = 0;
}

void
smtpd_notice_rejected(struct smtpd_session *s, int code, const char *dsn, struct span text)
{
	static const char *const bounce[] = {".1.0", ".1.1", NULL};
	static const char *const resource[] = {".3.1", NULL};
	static const char *const data[] = {".3.0", NULL};

	s->notice.next = MAIL_TROUBLE_POLICY;
	if (span_equal_str(text, "Server configuration error"))
		s->notice.next = MAIL_TROUBLE_SOFTWARE;
	else if (smtpd_dsn_is(dsn, bounce))
		s->notice.next = MAIL_TROUBLE_BOUNCE;
	else if (smtpd_dsn_is(dsn, resource))
		s->notice.next = MAIL_TROUBLE_RESOURCE;
	else if (code < 500 && smtpd_dsn_is(dsn, data))
		s->notice.next = MAIL_TROUBLE_DATA;
}

/* ---- the notice -------------------------------------------------------------------------------------------------- */

/* An address of main.cf with its domain. */
static const char *
smtpd_notice_address(const struct conf *conf, enum conf_param param, char *room, size_t size)
{
	const char *addr = conf_str(conf, param);

	if (strchr(addr, '@') != NULL)
		return addr;
	(void)snprintf(room, size, "%s@%s", addr, conf_str(conf, CONF_myorigin));
	return room;
}

static void
smtpd_notice_text(const struct smtpd_session *s, const char *queue_id, struct buf *out)
{
	const struct conf *conf = s->setup->conf;
	char to[QUEUE_ADDRESS_MAX];
	char peer[sizeof(s->client_name) + sizeof(s->client_address) + 2];
	const struct mail_transcript_notice notice = {
	    .host = s->setup->hostname,
	    .mail_name = conf_str(conf, CONF_mail_name),
	    .to = smtpd_notice_address(conf, CONF_error_notice_recipient, to, sizeof(to)),
	    .side = "SMTP server",
	    .peer = peer,
	    .reason = s->notice.reason,
	    .now = clock_real_us() / CLOCK_SECOND,
	};

	(void)snprintf(peer, sizeof(peer), "%s[%s]", s->client_name, s->client_address);
	mail_received_write_internal(out, notice.host, notice.mail_name, queue_id, notice.now);
	mail_transcript_write(out, &s->notice.transcript, &notice);
}

/* Through cleanup, as mail of our own. */
static bool
smtpd_notice_store(struct smtpd_session *s, struct queue_front *front, struct err *err)
{
	const struct conf *conf = s->setup->conf;
	struct cleanup_settings settings = s->setup->cleanup;
	bool bounced = (s->notice.troubles & s->setup->notify & MAIL_TROUBLE_BOUNCE) != 0;
	struct cleanup *c = cleanup_new(&settings, front);
	struct cleanup_envelope *e = cleanup_envelope(c);
	char queue_id[MAIL_QUEUE_ID_SIZE];
	char sender[QUEUE_ADDRESS_MAX];
	char room[QUEUE_ADDRESS_MAX];
	char orcpt[QUEUE_ADDRESS_MAX + 8];
	enum conf_param param =
	    bounced ? CONF_bounce_notice_recipient : CONF_error_notice_recipient;
	const char *to = smtpd_notice_address(conf, param, room, sizeof(room));
	bool ok = queue_front_mint(front, &e->msg_id, err);

	settings.no_copies = true;
	settings.no_checks |= !conf_has(conf, CONF_internal_mail_filter_classes, "notify");
	(void)snprintf(sender, sizeof(sender), "%s@%s", conf_str(conf, CONF_double_bounce_sender),
	    s->setup->hostname);
	mail_queue_id_format(e->msg_id, queue_id);
	e->queue_id = queue_id;
	e->arrival = clock_real_us();
	e->sender = sender;
	e->local = e->complete_headers = true;
	if (to == room)
		(void)snprintf(orcpt, sizeof(orcpt), "rfc822;%s", to);
	cleanup_add_rcpt(c, to, conf_str(conf, param), to == room ? orcpt : NULL, 0);
	if (ok) {
		smtpd_notice_text(s, queue_id, cleanup_content(c));
		cleanup_added(c);
		ok = cleanup_finish(c, err);
	}
	cleanup_free(&c);
	return ok;
}

void
smtpd_notice_end(struct smtpd_session *s)
{
	struct queue_front *front;
	struct err err;

	if ((s->notice.troubles & s->setup->notify) != 0 && s->server->front.shard_count != 0) {
		if (s->notice.reason == NULL && s->counts[SMTPD_QUIT][1] == 0 &&
		    smtpd_in_message(s))
			s->notice.reason = "lost connection";
		front = cleanup_front_pick(&s->server->front, &err);
		if (front == NULL || !smtpd_notice_store(s, front, &err))
			log_warn("postmaster notice about %s[%s] is not queued: %s", s->client_name,
			    s->client_address, err.text);
	}
	mail_transcript_done(&s->notice.transcript);
	s->notice = (struct smtpd_notice){0};
}

void
smtpd_notice_flush(struct smtpd_session *s)
{
	if (s->notice.transcript.lines <=
	    (size_t)conf_int(s->setup->conf, CONF_smtpd_history_flush_threshold))
		return;
	if ((s->notice.troubles & s->setup->notify) != 0)
		(void)stream_flush(s->stream);
	smtpd_notice_end(s);
}
