/*
 * virtual.c - virtual(8): mailboxes of people who are no users of this host. Path, user and group of each are in tables; nothing
 * else is asked, no alias is expanded, no command run.
 */
#include "mailbox/virtual.h"

#include <limits.h>
#include <string.h>

#include "agent/agent_worker.h"
#include "agent/agent_worker_side.h"
#include "base/log.h"
#include "mailbox/mailbox.h"

static const char virtual_misconfigured[] = "mail system configuration error";

/* ---- who and where ---- */

static bool
virtual_not_configured(struct err *err)
{
	return err_set(err, ERR_TEMP, "4.3.5", "%s", virtual_misconfigured);
}

static bool
virtual_path(struct agent_work *w, struct span rcpt, const char **ret, struct err *err)
{
	struct buf value CLEANUP(buf_done) = {0};

	switch (agent_work_lookup(w, CONF_virtual_mailbox_maps, AGENT_WORK_MAILBOX, rcpt, &value)) {
	case AGENT_WORK_ABSENT:
		return err_set(err, ERR_PERM, "5.1.1", "unknown user: \"%.*s\"", SPAN_ARG(rcpt));
	case AGENT_WORK_TRY_AGAIN:
		log_warn("virtual_mailbox_maps: lookup %.*s: %s", SPAN_ARG(rcpt), buf_str(&value));
		return virtual_not_configured(err);
	case AGENT_WORK_FOUND:
		break;
	}
	*ret = arena_printf(
	    &w->arena, "%s/%s", conf_str(w->conf, CONF_virtual_mailbox_base), buf_str(&value));
	return true;
}

/* A number from virtual_uid_maps or virtual_gid_maps, at least `least`. */
static bool
virtual_id(struct agent_work *w, enum conf_param maps, const char *name, struct span rcpt,
    uint64_t least, uint32_t *ret, struct err *err)
{
	struct buf value CLEANUP(buf_done) = {0};
	uint64_t id;

	switch (agent_work_lookup(w, maps, AGENT_WORK_MAILBOX, rcpt, &value)) {
	case AGENT_WORK_ABSENT:
		log_warn("recipient %.*s: not found in %s", SPAN_ARG(rcpt), name);
		return virtual_not_configured(err);
	case AGENT_WORK_TRY_AGAIN:
		log_warn("%s: lookup %.*s: %s", name, SPAN_ARG(rcpt), buf_str(&value));
		return virtual_not_configured(err);
	case AGENT_WORK_FOUND:
		break;
	}
	if (!span_number(buf_span(&value), UINT32_MAX - 1, &id) || id < least) {
		log_warn("recipient %.*s: bad %s %s in %s", SPAN_ARG(rcpt),
		    maps == CONF_virtual_uid_maps ? "uid" : "gid", buf_str(&value), name);
		return virtual_not_configured(err);
	}
	*ret = (uint32_t)id;
	return true;
}

/* ---- delivery ---- */

static bool
virtual_to_maildir(struct agent_work *w, const char *path, uid_t uid, gid_t gid,
    struct mailbox_copy *copy, struct err *err)
{
	const struct maildir dir = {
	    .path = path,
	    .uid = uid,
	    .gid = gid,
	    .limit = conf_size(w->conf, CONF_virtual_mailbox_limit),
	    .default_dsn = "4.2.0",
	};

	copy->flags = mailbox_copy_wanted(w->conf, MAILBOX_COPY_MAILDIR);
	return maildir_deliver(w, &dir, copy, err) || err_prefix(err, "maildir delivery failed");
}

static bool
virtual_to_mailbox(struct agent_work *w, const char *path, uid_t uid, gid_t gid,
    struct mailbox_copy *copy, struct err *err)
{
	const struct mailbox_file file = {
	    .path = path,
	    .rights =
		{
		    .uid = uid,
		    .gid = gid,
		    .open_uid = uid,
		    .open_gid = gid,
		    .strict_owner = conf_bool(w->conf, CONF_strict_mailbox_ownership),
		},
	    .locks = mailbox_locks_of(w->conf, CONF_virtual_mailbox_lock),
	    .limit = conf_size(w->conf, CONF_virtual_mailbox_limit),
	    .default_dsn = "4.2.0",
	};

	copy->flags = mailbox_copy_wanted(w->conf, MAILBOX_COPY_MBOX);
	return mailbox_deliver(w, &file, copy, err) ||
	       err_prefix(err, "delivery failed to mailbox %s", path);
}

static bool
virtual_find_and_deliver(
    struct agent_work *w, const struct delivery_rcpt *r, const char **ret_text, struct err *err)
{
	struct mailbox_copy copy = {
	    .sender = w->request.sender.ptr,
	    .null_from = "MAILER-DAEMON",
	    .orig_rcpt = r->orig_addr.len != 0 ? r->orig_addr.ptr : r->addr.ptr,
	    .delivered = r->addr.ptr,
	    .eol = "\n",
	};
	const char *path;
	uint32_t uid, gid;
	bool dir;

	if (!mailbox_limit_is_good(
		w->conf, CONF_virtual_mailbox_limit, "virtual_mailbox_limit", err) ||
	    !virtual_path(w, r->addr, &path, err) ||
	    !virtual_id(w, CONF_virtual_uid_maps, "virtual_uid_maps", r->addr,
		conf_size(w->conf, CONF_virtual_minimum_uid), &uid, err) ||
	    !virtual_id(w, CONF_virtual_gid_maps, "virtual_gid_maps", r->addr, 1, &gid, err))
		return false;
	dir = path[strlen(path) - 1] == '/';
	if (w->request.verify_only) {
		*ret_text = dir ? "delivers to maildir" : "delivers to mailbox";
		return true;
	}
	*ret_text = dir ? "delivered to maildir" : "delivered to mailbox";
	return dir ? virtual_to_maildir(w, path, uid, gid, &copy, err)
		   : virtual_to_mailbox(w, path, uid, gid, &copy, err);
}

/* An error in the tables or the mailbox, as an outcome. */
static void
virtual_failed(struct agent_work *w, size_t i, const struct err *err)
{
	enum delivery_status status = DELIVERY_DEFERRED;

	if (err->kind == ERR_PERM)
		status = DELIVERY_BOUNCED;
	else if (err->kind == ERR_GONE)
		status = DELIVERY_UNTRIED;
	agent_work_settle(w, i, status, err->dsn, err->text, NULL);
}

static void
virtual_work(struct agent_work *w)
{
	w->relay = "virtual";
	w->filter = CONF_virtual_delivery_status_filter;
	w->final = true;
	for (size_t i = 0; i < w->request.rcpt_count; i++) {
		const char *text = "";
		struct err err;

		err_clear(&err);
		if (virtual_find_and_deliver(w, &w->request.rcpts[i], &text, &err))
			agent_work_settle(w, i, DELIVERY_SENT, "2.0.0", text, NULL);
		else
			virtual_failed(w, i, &err);
	}
}

static const enum conf_param virtual_tables[] = {
    CONF_virtual_mailbox_maps,
    CONF_virtual_uid_maps,
    CONF_virtual_gid_maps,
    CONF_virtual_delivery_status_filter,
    CONF_COUNT,
};

static const struct agent_worker_kind virtual_worker_kind = {
    .work = virtual_work,
    .tables = virtual_tables,
    .owned_tables = CONF_COUNT,
    .trusted_tables = true,
};

static void
virtual_configure(struct agent *agent)
{
	agent_worker_configure(agent, &virtual_worker_kind);
}

const struct agent_kind virtual_agent_kind = {
    .service = {.program = "virtual", .privilege = SERVICE_ROOT},
    .deliver = agent_worker_deliver,
    .configure = virtual_configure,
    .stopping = agent_worker_stopping,
};
