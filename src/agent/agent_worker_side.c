/*
 * agent_worker_side.c - the worker process: takes one request after the other from its socket, blocking, and asks the agent for
 * what it does not have itself.
 */
#include "agent/agent_worker_side.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "agent/agent_worker_int.h"
#include "agent/agent_worker_tables.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/mail_dsn.h"
#include "mail/mail_log.h"
#include "service/service_fork.h"
#include "table/table_proxy.h"

/* ---- asking ---- */

void
agent_work_rewind(struct agent_work *w)
{
	w->content_given = false;
	w->content_rewind = true;
}

bool
agent_work_piece(struct agent_work *w, struct span *ret_piece, bool *ret_last)
{
	char rewind = (char)w->content_rewind;
	uint8_t bits;

	if (w->request.content_inline) {
		MUST(!w->content_given);
		w->content_given = true;
		*ret_piece = w->request.content;
		*ret_last = true;
		return true;
	}
	service_fork_send(w->fd, AGENT_WORKER_CONTENT, span_of(&rewind, 1));
	service_fork_receive(w->fd, AGENT_WORKER_PIECE, &w->answer);
	MUST(w->answer.len >= 1);
	w->content_rewind = false;
	bits = (uint8_t)w->answer.ptr[0];
	*ret_piece = span_from(buf_span(&w->answer), 1);
	*ret_last = (bits & AGENT_WORKER_PIECE_LAST) != 0;
	return (bits & AGENT_WORKER_PIECE_OK) != 0;
}

/* A server that is slow to answer holds up this delivery, not the agent. The connection is this worker's. */
static enum agent_work_lookup
agent_work_ask_here(struct agent_work *w, enum conf_param maps, enum agent_work_key how,
    struct span key, struct buf *value)
{
	static struct agent_worker_tables *tables;

	if (tables == NULL) {
		table_proxy_ask_directly();
		tables = agent_worker_tables_new(w->service->conf, w->kind);
	}
	buf_clear(value);
	return agent_worker_tables_find(tables, maps, how, key, value);
}

enum agent_work_lookup
agent_work_lookup(struct agent_work *w, enum conf_param maps, enum agent_work_key how,
    struct span key, struct buf *value)
{
	struct buf question CLEANUP(buf_done) = {0};
	uint32_t param = maps;

	if (agent_worker_tables_block(w->conf, w->kind, maps, how))
		return agent_work_ask_here(w, maps, how, key, value);
	buf_add(&question, &param, sizeof(param));
	buf_add_u8(&question, (uint8_t)how);
	buf_add_span(&question, key);
	service_fork_send(w->fd, AGENT_WORKER_LOOKUP, buf_span(&question));
	service_fork_receive(w->fd, AGENT_WORKER_VALUE, &w->answer);
	MUST(w->answer.len >= 1);
	buf_clear(value);
	buf_add_span(value, span_from(buf_span(&w->answer), 1));
	return (enum agent_work_lookup)w->answer.ptr[0];
}

bool
agent_work_may_go_on(struct agent_work *w)
{
	service_fork_send(w->fd, AGENT_WORKER_MAY_GO_ON, (struct span){0});
	service_fork_receive(w->fd, AGENT_WORKER_GO_ON, &w->answer);
	return w->answer.len == 1 && w->answer.ptr[0] == 1;
}

const char *
agent_work_attr(struct agent_work *w, const char *name)
{
	for (size_t i = 0; i < w->request.attr_count; i++)
		if (span_equal_str(w->request.attrs[i].name, name))
			return arena_dup(&w->arena, w->request.attrs[i].value);
	return "";
}

/* ---- outcomes ---- */

void
agent_work_log(struct agent_work *w, size_t i, const char *recipient, enum delivery_status status,
    const char *dsn, const char *text)
{
	static const char *const names[] = {[DELIVERY_SENT] = "sent",
	    [DELIVERY_DEFERRED] = "deferred",
	    [DELIVERY_BOUNCED] = "bounced",
	    [DELIVERY_UNTRIED] = "untried"};
	const struct delivery_rcpt *r = &w->request.rcpts[i];
	/* What the scheduler will make of it, in Postfix's words. */
	bool probe = w->request.verify_only;
	bool soft = !probe && status == DELIVERY_BOUNCED && conf_bool(w->conf, CONF_soft_bounce);
	struct buf line CLEANUP(buf_done) = {0};
	const struct mail_log_delivery d = {
	    .queue_id = w->request.queue_id.ptr,
	    .recipient = recipient,
	    .orig_recipient = r->orig_addr.len != 0 ? r->orig_addr.ptr : r->addr.ptr,
	    .relay = w->relay,
	    .times = {.arrival = w->request.arrival,
		.active = w->request.activated,
		.handed = w->started,
		.done = clock_real_us()},
	    .dsn = soft ? arena_printf(&w->arena, "4%s", dsn + 1) : dsn,
	    .status = probe  ? delivery_probe_word(status)
		      : soft ? "SOFTBOUNCE"
			     : names[status],
	    .text = span_str(text),
	};

	mail_log_delivery(&line, &d);
	log_info("%s", buf_str(&line));
}

void
agent_work_filter(
    struct agent_work *w, enum delivery_status *status, const char **dsn, const char **text)
{
	struct buf value CLEANUP(buf_done) = {0};
	char code[MAIL_DSN_SIZE];
	const char *key;
	struct span rest;

	if (w->filter == CONF_COUNT || conf_str(w->conf, w->filter)[0] == '\0' ||
	    *status == DELIVERY_UNTRIED)
		return;
	key = arena_printf(&w->arena, "%s %s", *dsn, *text);
	if (agent_work_lookup(w, w->filter, AGENT_WORK_WHOLE, span_str(key), &value) !=
	    AGENT_WORK_FOUND)
		return;
	rest = mail_dsn_split(buf_span(&value), "", code);
	if (code[0] == '\0' || (code[0] == '2') != (*status == DELIVERY_SENT)) {
		log_warn(
		    "delivery status filter: cannot make \"%s\" of \"%s\"", buf_str(&value), key);
		return;
	}
	if (*status != DELIVERY_SENT)
		*status = code[0] == '5' ? DELIVERY_BOUNCED : DELIVERY_DEFERRED;
	*dsn = arena_strdup(&w->arena, code);
	*text = arena_dup(&w->arena, rest);
}

void
agent_work_settle(struct agent_work *w, size_t i, enum delivery_status status, const char *dsn,
    const char *text, const char *diagnostic)
{
	struct delivery_outcome *o = &w->outcomes[i];

	agent_work_filter(w, &status, &dsn, &text);
	o->status = status;
	o->final = w->final && status == DELIVERY_SENT;
	o->dsn = span_str(arena_strdup(&w->arena, dsn));
	/* Only the log shows the line end of a command's last words. */
	o->text = span_str(arena_dup(&w->arena, span_trim(span_str(text))));
	o->relay = span_str(w->relay);
	if (diagnostic != NULL)
		o->diagnostic = span_str(arena_strdup(&w->arena, diagnostic));
	if (status != DELIVERY_UNTRIED)
		agent_work_log(w, i, w->request.rcpts[i].addr.ptr, status, dsn, text);
}

/* ---- rights ---- */

void
agent_work_become_root(void)
{
	if (geteuid() != 0 && seteuid(0) != 0)
		log_fatal(EX_OSERR, "cannot become root again: %s", strerror(errno));
	if (getegid() != 0 && setegid(0) != 0)
		log_fatal(EX_OSERR, "cannot take group 0 again: %s", strerror(errno));
}

void
agent_work_become(uid_t uid, gid_t gid)
{
	agent_work_become_root();
	if (getuid() == 0 && setgroups(1, &gid) != 0)
		log_fatal(EX_OSERR, "cannot set groups: %s", strerror(errno));
	if (setegid(gid) != 0 || seteuid(uid) != 0)
		log_fatal(EX_OSERR, "cannot take the rights of user %u, group %u: %s",
		    (unsigned)uid, (unsigned)gid, strerror(errno));
}

/* ---- the process ---- */

static void
agent_work_report(struct agent_work *w)
{
	struct delivery_result result = {
	    .msg_id = w->request.msg_id,
	    .outcomes = w->outcomes,
	    .outcome_count = w->request.rcpt_count,
	};
	struct buf payload CLEANUP(buf_done) = {0};

	for (size_t i = 0; i < w->request.rcpt_count; i++)
		if (w->outcomes[i].status == 0)
			w->outcomes[i].status = DELIVERY_UNTRIED;
	delivery_write_result(&payload, &result);
	CRASH_POINT("worker-before-report");
	service_fork_send(w->fd, AGENT_WORKER_RESULT, buf_span(&payload));
}

static void
agent_work_one(const struct service *service, const struct agent_worker_kind *kind, int fd,
    struct buf *request)
{
	struct agent_work w = {.service = service,
	    .kind = kind,
	    .conf = service->conf,
	    .fd = fd,
	    .filter = CONF_COUNT};

	service_fork_receive(fd, AGENT_WORKER_REQUEST, request);
	w.started = clock_real_us();
	w.relay = service->name;
	MUST(delivery_parse_request(buf_span(request), &w.arena, &w.request));
	w.outcomes = arena_alloc(&w.arena, w.request.rcpt_count * sizeof(*w.outcomes));
	for (size_t i = 0; i < w.request.rcpt_count; i++)
		w.outcomes[i].rcpt_no = w.request.rcpts[i].rcpt_no;
	agent_work_rewind(&w);
	kind->work(&w);
	agent_work_become_root();
	agent_work_report(&w);
	buf_done(&w.answer);
	arena_done(&w.arena);
}

void
agent_worker_main(const struct service *service, const struct agent_worker_kind *kind, int fd)
{
	struct buf request = {0};

	for (;;)
		agent_work_one(service, kind, fd, &request);
}
