/*
 * qmgr_notice.c - see qmgr_notice.h. Whom it is for, and what stands around the transcript, is decided here: an agent, which strangers talk
 * to, does not choose the recipients of our mail.
 */
#include "qmgr/qmgr_notice.h"

#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_queue_id.h"
#include "mail/mail_received.h"
#include "mail/mail_transcript.h"
#include "qmgr/qmgr_cleanup.h"
#include "qmgr/qmgr_int.h"

/* Notices that wait to be stored: a peer that makes trouble must not fill the memory while the database is slow. */
#define QMGR_NOTICES_MAX 500

/* On its way to the queue. */
struct qmgr_notice {
	struct qmgr *qmgr;
	struct conf *conf; /* counted */
	struct arena arena;
	bool lmtp;
	const char *peer;
	struct mail_transcript transcript;
};

static void
qmgr_notice_write(struct qmgr_notice *n, const char *to, int64_t msg_id, struct buf *out)
{
	char id[MAIL_QUEUE_ID_SIZE];
	const struct mail_transcript_notice notice = {
	    .host = conf_str(n->conf, CONF_myhostname),
	    .mail_name = conf_str(n->conf, CONF_mail_name),
	    .to = to,
	    .side = n->lmtp ? "LMTP client" : "SMTP client",
	    .peer = n->peer,
	    .intro = arena_printf(&n->arena, "Unexpected response from %s.", n->peer),
	    .now = clock_real_us() / CLOCK_SECOND,
	};

	mail_queue_id_format(msg_id, id);
	mail_received_write_internal(out, notice.host, notice.mail_name, id, notice.now);
	mail_transcript_write(out, &n->transcript, &notice);
}

/* From the double-bounce sender: if it cannot be delivered, nobody is told. */
static bool
qmgr_notice_compose(struct qmgr_notice *n, int64_t msg_id, struct queue_message *m, struct err *err)
{
	const char *name = conf_str(n->conf, CONF_error_notice_recipient);
	struct queue_rcpt *rcpt = arena_new(&n->arena, struct queue_rcpt);
	struct buf text CLEANUP(buf_done) = {0};
	const struct qmgr_cleanup_way way = {
	    .checks = conf_has(n->conf, CONF_internal_mail_filter_classes, "notify"),
	    .local = true,
	};

	rcpt->addr = name;
	if (strchr(name, '@') == NULL) {
		rcpt->addr =
		    arena_printf(&n->arena, "%s@%s", name, conf_str(n->conf, CONF_myorigin));
		rcpt->orig_addr = name;
		rcpt->dsn_orcpt = arena_printf(&n->arena, "rfc822;%s", rcpt->addr);
	}
	qmgr_notice_write(n, rcpt->addr, msg_id, &text);
	*m = (struct queue_message){
	    .envelope =
		{
		    .msg_id = msg_id,
		    .sender = arena_printf(&n->arena, "%s@%s",
			conf_str(n->conf, CONF_double_bounce_sender),
			conf_str(n->conf, CONF_myhostname)),
		    .arrival = clock_real_us(),
		    .size = text.len,
		    .rcpts = rcpt,
		    .rcpt_count = 1,
		},
	    .content = span_of(arena_dup(&n->arena, buf_span(&text)), text.len),
	};
	return qmgr_cleanup_run(n->conf, &way, m, &n->arena, err);
}

static bool
qmgr_notice_store(struct qmgr_notice *n, struct qmgr_shard *s, struct err *err)
{
	struct queue_message m;
	int64_t msg_id;

	if (!queue_desk_mint(s->desk, &msg_id, err) || !qmgr_notice_compose(n, msg_id, &m, err))
		return false;
	/* A check may have discarded it. */
	return m.envelope.rcpt_count == 0 ||
	       queue_desk_store(s->desk, &m,
		   clock_deadline(conf_time(n->conf, CONF_queue_database_timeout)), err);
}

/* The first queue database that is there takes it. */
static struct qmgr_shard *
qmgr_notice_shard(const struct qmgr *q)
{
	for (size_t i = 0; i < q->shard_count; i++)
		if (queue_desk_epoch(q->shards[i]->desk) != 0)
			return q->shards[i];
	return NULL;
}

static void
qmgr_notice_free(struct qmgr_notice *n)
{
	n->qmgr->notices--;
	conf_unref(&n->conf);
	mail_transcript_done(&n->transcript);
	arena_done(&n->arena);
	mem_free(n);
}

static void
qmgr_notice_run(void *arg)
{
	struct qmgr_notice *n = arg;
	struct qmgr_shard *s = qmgr_notice_shard(n->qmgr);
	struct err err;

	if (s == NULL)
		(void)err_set(&err, ERR_TEMP, "4.3.0", "no queue database");
	if (s == NULL || !qmgr_notice_store(n, s, &err))
		log_warn("postmaster notice about %s is not queued: %s", n->peer, err.text);
	else
		task_cond_wake_one(&s->claim_wanted);
	qmgr_notice_free(n);
}

/* It becomes part of a header. */
static const char *
qmgr_notice_peer(struct arena *arena, struct span peer)
{
	char *text = arena_dup(arena, peer);

	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
	return text;
}

void
qmgr_notice(struct qmgr *q, const struct delivery_notice *notice)
{
	struct qmgr_notice *n;

	if (q->notices >= QMGR_NOTICES_MAX) {
		log_warn(
		    "postmaster notice about %.*s is lost: too many wait", SPAN_ARG(notice->peer));
		return;
	}
	n = mem_new(struct qmgr_notice);
	q->notices++;
	n->qmgr = q;
	n->conf = conf_ref(q->service->conf);
	n->lmtp = notice->lmtp;
	n->peer = qmgr_notice_peer(&n->arena, notice->peer);
	n->transcript.cut = notice->cut;
	buf_add_span(&n->transcript.text, notice->transcript);
	if (task_group_start(&q->tasks, "notice", qmgr_notice_run, n) == NULL) {
		log_warn("postmaster notice about %s is lost: too many tasks", n->peer);
		qmgr_notice_free(n);
	}
}
