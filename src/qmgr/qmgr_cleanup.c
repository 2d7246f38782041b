/*
 * qmgr_cleanup.c - see qmgr_cleanup.h. The message goes through the library of the front ends, which hands it back instead of storing it.
 */
#include "qmgr/qmgr_cleanup.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "bounce/bounce.h"
#include "cleanup/cleanup.h"
#include "mail/mail_queue_id.h"
#include "qmgr/qmgr_int.h"

/* ---- settings of one configuration, kept while somebody waits for an answer --------------------------------------- */

struct qmgr_cleanup {
	int users;
	struct conf *conf;
	struct cleanup_settings settings;
};

static struct qmgr_cleanup *qmgr_cleanup_now;

static void
qmgr_cleanup_release(struct qmgr_cleanup *u)
{
	if (--u->users > 0)
		return;
	cleanup_settings_done(&u->settings);
	conf_unref(&u->conf);
	mem_free(u);
}

/* For the caller to release. */
static struct qmgr_cleanup *
qmgr_cleanup_take(struct conf *conf)
{
	struct qmgr_cleanup *u = qmgr_cleanup_now;

	if (u == NULL || u->conf != conf) {
		if (u != NULL)
			qmgr_cleanup_release(u);
		u = qmgr_cleanup_now = mem_new(struct qmgr_cleanup);
		u->users = 1;
		u->conf = conf_ref(conf);
		u->settings = cleanup_settings_from(conf);
	}
	u->users++;
	return u;
}

bool
qmgr_cleanup_is_idle(struct conf *conf)
{
	static const enum conf_param tables[] = {
	    CONF_virtual_alias_maps,
	    CONF_canonical_maps,
	    CONF_recipient_canonical_maps,
	    CONF_sender_canonical_maps,
	    CONF_masquerade_domains,
	};
	struct qmgr_cleanup *u = qmgr_cleanup_take(conf);
	bool idle = conf_str(conf, CONF_internal_mail_filter_classes)[0] == '\0';

	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		idle = idle && conf_str(u->settings.conf, tables[i])[0] == '\0';
	qmgr_cleanup_release(u);
	return idle;
}

/* ---- one message --------------------------------------------------------------------------------------------------- */

struct qmgr_cleanup_result {
	struct queue_message *message;
	struct arena *arena;
	bool came; /* else a check discarded it */
};

static const char *
qmgr_cleanup_copy(struct arena *a, const char *text)
{
	return text != NULL ? arena_strdup(a, text) : NULL;
}

/* What comes back is cleanup's: all of it is copied. */
static bool
qmgr_cleanup_keep(void *arg, const struct queue_message *in, struct err *err UNUSED)
{
	struct qmgr_cleanup_result *r = arg;
	struct queue_envelope *e = &r->message->envelope;
	struct queue_rcpt *rcpts = arena_alloc(r->arena, in->envelope.rcpt_count * sizeof(*rcpts));

	for (size_t i = 0; i < in->envelope.rcpt_count; i++) {
		const struct queue_rcpt *from = &in->envelope.rcpts[i];

		rcpts[i] = *from;
		rcpts[i].addr = arena_strdup(r->arena, from->addr);
		rcpts[i].orig_addr = qmgr_cleanup_copy(r->arena, from->orig_addr);
		rcpts[i].dsn_orcpt = qmgr_cleanup_copy(r->arena, from->dsn_orcpt);
	}
	e->rcpts = rcpts;
	e->rcpt_count = in->envelope.rcpt_count;
	e->sender = arena_strdup(r->arena, in->envelope.sender);
	r->message->content = span_of(arena_dup(r->arena, in->content), in->content.len);
	e->size = in->content.len;
	r->came = true;
	return true;
}

bool
qmgr_cleanup_run(struct conf *conf, const struct qmgr_cleanup_way *way, struct queue_message *m,
    struct arena *arena, struct err *err)
{
	struct qmgr_cleanup *u = qmgr_cleanup_take(conf);
	struct cleanup_settings settings = u->settings;
	struct qmgr_cleanup_result result = {.message = m, .arena = arena};
	char queue_id[MAIL_QUEUE_ID_SIZE];
	struct cleanup *c;
	struct cleanup_envelope *e;
	bool ok;

	mail_queue_id_format(m->envelope.msg_id, queue_id);
	settings.no_checks |= !way->checks;
	settings.no_copies = true;
	settings.message_size_limit = 0;
	settings.store_elsewhere = qmgr_cleanup_keep;
	settings.store_arg = &result;
	c = cleanup_new(&settings, NULL);
	e = cleanup_envelope(c);
	e->msg_id = m->envelope.msg_id;
	e->queue_id = queue_id;
	e->arrival = m->envelope.arrival;
	e->sender = m->envelope.sender;
	e->local = true;
	e->complete_headers = way->local;
	for (size_t i = 0; i < m->envelope.rcpt_count; i++) {
		const struct queue_rcpt *r = &m->envelope.rcpts[i];

		cleanup_add_rcpt(c, r->addr, r->orig_addr != NULL ? r->orig_addr : r->addr,
		    r->dsn_orcpt, r->dsn_notify);
	}
	buf_add_span(cleanup_content(c), m->content);
	cleanup_added(c);
	ok = cleanup_finish(c, err);
	if (ok && !result.came)
		m->envelope.rcpt_count = 0;
	cleanup_free(&c);
	qmgr_cleanup_release(u);
	return ok;
}

bool
qmgr_cleanup_bounce(void *arg, struct queue_message *m, struct arena *arena)
{
	struct qmgr *q = arg;
	struct conf *conf = q->service->conf;
	const struct qmgr_cleanup_way way = {
	    .checks = conf_has(conf, CONF_internal_mail_filter_classes, "bounce"),
	    .local = true,
	};
	struct err err;

	if (qmgr_cleanup_is_idle(conf)) {
		bounce_log_id(m);
		return true;
	}
	/* The sender is to be told in any case. */
	if (!qmgr_cleanup_run(conf, &way, m, arena, &err))
		log_warn("a notification is sent as it is: %s", err.text);
	return m->envelope.rcpt_count != 0;
}
