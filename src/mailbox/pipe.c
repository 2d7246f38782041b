/*
 * pipe.c - pipe(8): a delivery is one run of the command of the master.cf line, for all its recipients.
 */
#include "mailbox/pipe.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent_worker.h"
#include "agent/agent_worker_side.h"
#include "base/log.h"
#include "base/mem.h"
#include "mailbox/mailbox_copy.h"
#include "mailbox/pipe_args.h"
#include "mailbox/pipe_command.h"
#include "service/service_privilege.h"

static const char pipe_misconfigured[] = "mail system configuration error";

struct pipe_delivery {
	struct agent_work *work;
	struct pipe_args args;
	uid_t uid;
	gid_t gid;
};

/* ---- macros ---- */

static const char *
pipe_macro(void *arg, struct span name)
{
	struct agent_work *w = arg;
	/* Macros and the message's attributes; `unknown`: what stands for one that is not there. */
	static const struct {
		const char *macro;
		const char *attr;
	} attrs[] = {
	    {"client_address", "client_address"},
	    {"client_helo", "helo_name"},
	    {"client_hostname", "client_name"},
	    {"client_port", "client_port"},
	    {"client_protocol", "protocol_name"},
	    {"envid", "envid"},
	    {"sasl_method", "sasl_method"},
	    {"sasl_sender", "sasl_sender"},
	    {"sasl_username", "sasl_username"},
	};

	for (size_t i = 0; i < ARRAY_LEN(attrs); i++)
		if (span_equal_str(name, attrs[i].macro))
			return agent_work_attr(w, attrs[i].attr);
	if (span_equal_str(name, "nexthop"))
		return arena_dup(&w->arena, w->request.nexthop);
	if (span_equal_str(name, "queue_id"))
		return arena_dup(&w->arena, w->request.queue_id);
	if (span_equal_str(name, "size"))
		return arena_printf(&w->arena, "%llu", (unsigned long long)w->request.size);
	return NULL;
}

static bool
pipe_words(struct pipe_delivery *d, const char ***ret, struct err *err)
{
	struct agent_work *w = d->work;
	size_t count = w->request.rcpt_count;
	struct pipe_args_rcpt *rcpts = arena_alloc(&w->arena, (count + 1) * sizeof(*rcpts));
	const struct pipe_args_source source = {
	    .sender = w->request.sender.ptr,
	    .delimiters = conf_str(w->conf, CONF_recipient_delimiter),
	    .owner_request_split = !conf_bool(w->conf, CONF_owner_request_special),
	    .rcpts = rcpts,
	    .rcpt_count = count,
	    .lookup = pipe_macro,
	    .arg = w,
	};

	for (size_t i = 0; i < count; i++) {
		const struct delivery_rcpt *r = &w->request.rcpts[i];

		rcpts[i].addr = r->addr.ptr;
		rcpts[i].orig_addr = r->orig_addr.len != 0 ? r->orig_addr.ptr : r->addr.ptr;
	}
	return pipe_args_expand(&d->args, &source, &w->arena, ret, err);
}

/* ---- rights ---- */

static bool
pipe_not_allowed(struct err *err, const char *what)
{
	return err_set(err, ERR_CONFIG, "4.3.5", "user= command-line attribute specifies %s", what);
}

static bool
pipe_group(const char *name, gid_t *ret, struct err *err)
{
	uint64_t number;
	const struct group *gr = getgrnam(name);

	if (gr != NULL)
		*ret = gr->gr_gid;
	else if (span_number(span_str(name), UINT32_MAX - 1, &number))
		*ret = (gid_t)number;
	else
		return err_set(err, ERR_CONFIG, "4.3.5", "unknown group: %s", name);
	return true;
}

/* user=name[:group]: never root, never the mail system itself. */
static bool
pipe_rights(
    const struct conf *conf, const char *user, uid_t *ret_uid, gid_t *ret_gid, struct err *err)
{
	size_t colon = span_find(span_str(user), ':');
	char *name CLEANUP(mem_free_str) = span_dup(span_head(span_str(user), colon));
	const struct passwd *pw = getpwnam(name);
	const struct group *drop;
	uid_t owner;
	gid_t owner_gid;

	if (pw == NULL)
		return err_set(err, ERR_CONFIG, "4.3.5", "unknown user: %s", name);
	*ret_uid = pw->pw_uid;
	*ret_gid = pw->pw_gid;
	if (user[colon] != '\0' && !pipe_group(user + colon + 1, ret_gid, err))
		return false;
	if (!service_privilege_ids(conf, SERVICE_FRONT_END, &owner, &owner_gid, err))
		return false;
	drop = getgrnam(conf_str(conf, CONF_setgid_group));
	if (*ret_uid == 0)
		return pipe_not_allowed(err, "root privileges");
	if (*ret_uid == owner)
		return pipe_not_allowed(err, "the mail system owner");
	if (*ret_gid == 0)
		return pipe_not_allowed(err, "privileged group id 0");
	if (*ret_gid == owner_gid)
		return pipe_not_allowed(err, "the group of the mail system owner");
	if (drop != NULL && *ret_gid == drop->gr_gid)
		return pipe_not_allowed(err, "the group of the mail submission command");
	return true;
}

bool
pipe_check(const struct conf *conf, const struct master_service *line, struct err *err)
{
	struct arena arena CLEANUP(arena_done) = {0};
	size_t count = line->arg_count - line->option_count;
	char **words = arena_alloc(&arena, (count + 1) * sizeof(words[0]));
	struct pipe_args args;
	uid_t uid;
	gid_t gid;

	for (size_t i = 0; i < count; i++) {
		char *word CLEANUP(mem_free_str) =
		    master_cf_argument(line->args[line->option_count + i]);

		words[i] = arena_strdup(&arena, word);
	}
	if (!pipe_args_parse(words, count, &arena, &args, err) ||
	    !pipe_rights(conf, args.user, &uid, &gid, err))
		return false;
	/* With a chroot= the file is somewhere else. */
	if (args.chroot == NULL && args.argv[0][0] == '/' && access(args.argv[0], X_OK) != 0)
		return err_set(
		    err, ERR_CONFIG, "4.3.5", "command %s: %s", args.argv[0], strerror(errno));
	return true;
}

/* ---- delivery ---- */

static void
pipe_settle_all(struct agent_work *w, enum delivery_status status, const char *dsn,
    const char *text, const char *diagnostic)
{
	for (size_t i = 0; i < w->request.rcpt_count; i++)
		if (w->outcomes[i].status == 0)
			agent_work_settle(w, i, status, dsn, text, diagnostic);
}

/* What can be decided without running anything. True: it is. */
static bool
pipe_settle_early(struct pipe_delivery *d)
{
	struct agent_work *w = d->work;

	if ((d->args.flags & (PIPE_FLAG_DELIVERED | PIPE_FLAG_ORIG_RCPT)) != 0 &&
	    w->request.rcpt_count > 1) {
		log_warn("flag `D' or `O' of pipe needs %s_destination_recipient_limit = 1",
		    w->service->name);
		pipe_settle_all(w, DELIVERY_DEFERRED, "4.3.5", pipe_misconfigured, NULL);
		return true;
	}
	if (d->args.size_limit != 0 && w->request.size > d->args.size_limit) {
		pipe_settle_all(w, DELIVERY_BOUNCED, "5.2.3", "message too large", NULL);
		return true;
	}
	if ((d->args.flags & PIPE_FLAG_DELIVERED) != 0 &&
	    mailbox_copy_is_loop(w, w->request.rcpts[0].addr.ptr)) {
		pipe_settle_all(w, DELIVERY_BOUNCED, "5.4.6",
		    arena_printf(
			&w->arena, "mail forwarding loop for %s", w->request.rcpts[0].addr.ptr),
		    NULL);
		return true;
	}
	if (w->request.verify_only) {
		pipe_settle_all(w, DELIVERY_SENT, "2.0.0",
		    arena_printf(&w->arena, "delivers to command: %s", d->args.argv[0]), NULL);
		return true;
	}
	return false;
}

static unsigned
pipe_copy_flags(unsigned flags)
{
	static const struct {
		unsigned flag;
		unsigned copy;
	} map[] = {
	    {PIPE_FLAG_BLANK, MAILBOX_COPY_BLANK},
	    {PIPE_FLAG_DELIVERED, MAILBOX_COPY_DELIVERED},
	    {PIPE_FLAG_FROM, MAILBOX_COPY_FROM},
	    {PIPE_FLAG_ORIG_RCPT, MAILBOX_COPY_ORIG_RCPT},
	    {PIPE_FLAG_RETURN_PATH, MAILBOX_COPY_RETURN_PATH},
	    {PIPE_FLAG_DOT, MAILBOX_COPY_DOT},
	    {PIPE_FLAG_QUOTE_FROM, MAILBOX_COPY_QUOTE_FROM},
	};
	unsigned copy = 0;

	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if ((flags & map[i].flag) != 0)
			copy |= map[i].copy;
	return copy;
}

static int64_t
pipe_time_limit(struct agent_work *w)
{
	int64_t limit;
	struct err err;

	if (conf_service_time(w->conf, w->service->name, CONF_transport_time_limit, &limit, &err))
		return limit;
	log_warn("%s", err.text);
	return conf_time(w->conf, CONF_command_time_limit);
}

static void
pipe_run_command(struct pipe_delivery *d, const char **words)
{
	struct agent_work *w = d->work;
	const struct delivery_rcpt *r = &w->request.rcpts[0];
	const char *sender =
	    w->request.sender.len != 0 ? w->request.sender.ptr : d->args.null_sender;
	const struct pipe_command command = {
	    .argv = words,
	    .uid = d->uid,
	    .gid = d->gid,
	    .directory = d->args.directory,
	    .chroot = d->args.chroot,
	    .time_limit = pipe_time_limit(w),
	    .program = "pipe",
	};
	const struct mailbox_copy copy = {
	    .flags = mailbox_copy_wanted(w->conf, pipe_copy_flags(d->args.flags)),
	    .sender = sender,
	    .null_from = "MAILER-DAEMON",
	    .orig_rcpt = r->orig_addr.len != 0 ? r->orig_addr.ptr : r->addr.ptr,
	    .delivered = r->addr.ptr,
	    .eol = d->args.eol,
	};
	struct pipe_status s;

	if (!pipe_command_run(w, &command, &copy, &s))
		return;
	if (s.status == DELIVERY_SENT)
		s.text = arena_printf(&w->arena, "delivered via %s service%s%s%s", w->service->name,
		    s.text[0] != '\0' ? " (" : "", s.text, s.text[0] != '\0' ? ")" : "");
	w->final = (d->args.flags & PIPE_FLAG_FINAL) != 0;
	pipe_settle_all(w, s.status, s.dsn, s.text, s.diagnostic);
}

static void
pipe_work(struct agent_work *w)
{
	struct pipe_delivery d = {.work = w};
	const char **words;
	struct err err;

	w->filter = CONF_pipe_delivery_status_filter;
	if (!pipe_args_parse(w->service->args, w->service->arg_count, &w->arena, &d.args, &err) ||
	    !pipe_rights(w->conf, d.args.user, &d.uid, &d.gid, &err)) {
		log_warn("service %s: %s", w->service->name, err.text);
		pipe_settle_all(w, DELIVERY_DEFERRED, "4.3.5", pipe_misconfigured, NULL);
		/* A line of master.cf that is wrong is no fact about the mail: as in Postfix, the queue shows no reason. */
		for (size_t i = 0; i < w->request.rcpt_count; i++)
			w->outcomes[i].text = (struct span){0};
		return;
	}
	if (pipe_settle_early(&d))
		return;
	if (!pipe_words(&d, &words, &err)) {
		log_warn("file %s/master.cf: service %s: %s", conf_dir(w->conf), w->service->name,
		    err.text);
		pipe_settle_all(w, DELIVERY_DEFERRED, "4.3.5", pipe_misconfigured, NULL);
		return;
	}
	pipe_run_command(&d, words);
}

static const enum conf_param pipe_tables[] = {
    CONF_pipe_delivery_status_filter,
    CONF_COUNT,
};

static const struct agent_worker_kind pipe_worker_kind = {
    .work = pipe_work,
    .tables = pipe_tables,
    .owned_tables = CONF_COUNT,
};

static void
pipe_configure(struct agent *agent)
{
	agent_worker_configure(agent, &pipe_worker_kind);
}

const struct agent_kind pipe_agent_kind = {
    .service = {.program = "pipe", .privilege = SERVICE_ROOT},
    .deliver = agent_worker_deliver,
    .configure = pipe_configure,
    .stopping = agent_worker_stopping,
};
