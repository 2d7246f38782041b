/*
 * local_command.c - commands and files that aliases, forward files and mailbox_command name: whether they are allowed, with whose
 * rights, and what a command gets to know.
 */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "mailbox/local_int.h"
#include "mailbox/mailbox.h"
#include "mailbox/pipe_command.h"

/* Is this source in allow_mail_to_commands, allow_mail_to_files? */
static bool
local_is_allowed(const struct local_delivery *d, enum local_source source, enum conf_param p)
{
	switch (source) {
	case LOCAL_FROM_SENDER:
		return true;
	case LOCAL_FROM_ALIAS:
		return conf_has(d->work->conf, p, "alias");
	case LOCAL_FROM_FORWARD:
		return conf_has(d->work->conf, p, "forward");
	case LOCAL_FROM_INCLUDE:
		return conf_has(d->work->conf, p, "include");
	}
	UNREACHED();
}

/* Nobody's or root's rights: default_privs instead. False: noted as deferred. */
static bool
local_rights(struct local_delivery *d, const struct local_context *c, uid_t *uid, gid_t *gid)
{
	const char *name = conf_str(d->work->conf, CONF_default_privs);
	const struct passwd *pw;

	*uid = c->user.uid;
	*gid = c->user.gid;
	if (c->user.known && c->user.uid != 0)
		return true;
	pw = getpwnam(name);
	if (pw != NULL && pw->pw_uid != 0) {
		*uid = pw->pw_uid;
		*gid = pw->pw_gid;
		return true;
	}
	log_warn("default_privs = %s: %s", name, pw == NULL ? "unknown user" : "is root");
	local_note(d, c->address->addr, DELIVERY_DEFERRED, "4.3.5",
	    "mail system configuration error", NULL);
	return false;
}

/* ---- environment ---- */

#define LOCAL_ENV_MAX 24

struct local_env {
	struct local_delivery *delivery;
	const char *list[LOCAL_ENV_MAX + 1];
	size_t count;
};

/* Characters outside the filter become '_': a shell may see them. */
static void
local_env_add(struct local_env *e, const char *name, const char *value)
{
	const char *filter = conf_str(e->delivery->work->conf, CONF_command_expansion_filter);
	size_t from = strlen(name) + 1;
	char *item;

	if (value == NULL)
		return;
	MUST(e->count < LOCAL_ENV_MAX);
	item = arena_printf(&e->delivery->work->arena, "%s=%s", name, value);
	for (char *p = item + from; *p != '\0'; p++)
		if (strchr(filter, *p) == NULL)
			*p = '_';
	e->list[e->count++] = item;
}

static void
local_env_add_attr(struct local_env *e, const char *name, const char *attr)
{
	const char *value = agent_work_attr(e->delivery->work, attr);

	if (value[0] != '\0')
		local_env_add(e, name, value);
}

static void
local_env_fill(struct local_env *e, const struct local_context *c)
{
	const struct local_address *a = c->address;

	if (c->user.known && c->user.home != NULL)
		local_env_add(e, "HOME", c->user.home);
	local_env_add(e, "LOGNAME", a->user);
	local_env_add(e, "USER", a->user);
	local_env_add(e, "SENDER", c->sender);
	local_env_add(e, "RECIPIENT", a->addr);
	local_env_add(e, "LOCAL", a->local);
	if (c->user.known && c->user.shell != NULL)
		local_env_add(e, "SHELL", c->user.shell);
	if (a->domain[0] != '\0')
		local_env_add(e, "DOMAIN", a->domain);
	local_env_add(e, "EXTENSION", a->extension);
	local_env_add(e, "ORIGINAL_RECIPIENT", c->list ? NULL : e->delivery->orig_addr);
	local_env_add_attr(e, "CLIENT_HOSTNAME", "client_name");
	local_env_add_attr(e, "CLIENT_ADDRESS", "client_address");
	local_env_add_attr(e, "CLIENT_HELO", "helo_name");
	local_env_add_attr(e, "CLIENT_PROTOCOL", "protocol_name");
	local_env_add_attr(e, "SASL_METHOD", "sasl_method");
	local_env_add_attr(e, "SASL_USERNAME", "sasl_username");
	local_env_add_attr(e, "SASL_SENDER", "sasl_sender");
	local_env_add_attr(e, "ENVID", "envid");
	e->list[e->count] = NULL;
}

/* ---- commands ---- */

/* Where it runs: command_execution_directory. False: it cannot be told; noted as deferred. */
static bool
local_directory(struct local_delivery *d, const struct local_context *c, const char **ret)
{
	const struct conf *conf = d->work->conf;
	const char *text = conf_str(conf, CONF_command_execution_directory);
	struct buf out CLEANUP(buf_done) = {0};

	*ret = NULL;
	if (text[0] == '\0')
		return true;
	if (!local_expand(d, c->address, c->user.known ? &c->user : NULL, text,
		conf_str(conf, CONF_execution_directory_expansion_filter), &out, NULL)) {
		local_note(d, c->address->addr, DELIVERY_DEFERRED, "4.3.5",
		    "mail system configuration error", NULL);
		return false;
	}
	*ret = arena_strdup(&d->work->arena, buf_str(&out));
	return true;
}

struct mailbox_copy
local_copy(const struct local_delivery *d, const struct local_context *c, unsigned flags,
    const char *delivered_for)
{
	if (!conf_has(d->work->conf, CONF_prepend_delivered_header, delivered_for))
		flags &= ~(unsigned)MAILBOX_COPY_DELIVERED;
	return (struct mailbox_copy){
	    .flags = mailbox_copy_wanted(d->work->conf, flags),
	    .sender = c->sender,
	    .null_from = "MAILER-DAEMON",
	    .orig_rcpt = c->list ? "" : d->orig_addr,
	    .delivered = c->delivered,
	    .eol = "\n",
	};
}

static void
local_run(
    struct local_delivery *d, const struct local_context *c, const char *line, uid_t uid, gid_t gid)
{
	struct agent_work *w = d->work;
	struct local_env env = {.delivery = d};
	struct pipe_command command = {
	    .command = line,
	    .shell = conf_str(w->conf, CONF_local_command_shell),
	    .uid = uid,
	    .gid = gid,
	    .env = env.list,
	    .time_limit = conf_time(w->conf, CONF_command_time_limit),
	    .file_limit = conf_size(w->conf, CONF_mailbox_size_limit),
	    .program = "local",
	};
	const struct mailbox_copy copy =
	    local_copy(d, c, MAILBOX_COPY_MAILDIR | MAILBOX_COPY_FROM, "command");
	struct pipe_status s;

	if (!local_directory(d, c, &command.directory))
		return;
	local_env_fill(&env, c);
	if (!pipe_command_run(w, &command, &copy, &s)) {
		d->gone = true;
		return;
	}
	if (s.status == DELIVERY_SENT)
		s.text = arena_printf(&w->arena, "delivered to command: %s", line);
	local_note_to_owner(d, c->address, s.status, s.dsn, s.text, s.diagnostic);
}

void
local_command(struct local_delivery *d, const struct local_context *c, const char *line)
{
	uid_t uid;
	gid_t gid;

	if (!local_first_time(
		d, "command %s %u %s", c->address->local, (unsigned)c->user.uid, line))
		return;
	if (!local_is_allowed(d, c->source, CONF_allow_mail_to_commands)) {
		local_note(d, c->address->addr, DELIVERY_BOUNCED, "5.7.1",
		    "mail to command is restricted", NULL);
		return;
	}
	if (local_probe(d, c->address->addr,
		arena_printf(&d->work->arena, "delivers to command: %s", line)))
		return;
	if (local_rights(d, c, &uid, &gid))
		local_run(d, c, line, uid, gid);
}

/* ---- files ---- */

static bool
local_to_maildir_file(struct local_delivery *d, const struct local_context *c, const char *path,
    uid_t uid, gid_t gid, struct err *err)
{
	const struct maildir dir = {
	    .path = path,
	    .uid = uid,
	    .gid = gid,
	    .limit = conf_size(d->work->conf, CONF_mailbox_size_limit),
	    .default_dsn = "5.2.0",
	};
	const struct mailbox_copy copy = local_copy(d, c, MAILBOX_COPY_MAILDIR, "file");

	return maildir_deliver(d->work, &dir, &copy, err) ||
	       err_prefix(err, "maildir delivery failed");
}

static bool
local_to_any_file(struct local_delivery *d, const struct local_context *c, const char *path,
    uid_t uid, gid_t gid, struct err *err)
{
	const struct mailbox_file file = {
	    .path = path,
	    .rights = {.uid = uid, .gid = gid, .open_uid = uid, .open_gid = gid},
	    .locks = mailbox_locks_of(d->work->conf, CONF_mailbox_delivery_lock) |
		     MAILBOX_LOCK_DOT_MAY_FAIL,
	    .limit = conf_size(d->work->conf, CONF_mailbox_size_limit),
	    .default_dsn = "5.2.0",
	    .any_file = true,
	};
	const struct mailbox_copy copy = local_copy(d, c, MAILBOX_COPY_MBOX, "file");
	char text[sizeof(err->text)];

	if (mailbox_deliver(d->work, &file, &copy, err))
		return true;
	memcpy(text, err->text, sizeof(text));
	return err->kind == ERR_GONE ||
	       err_set(err, err->kind, arena_strdup(&d->work->arena, err->dsn),
		   "cannot append message to file %s: %s", path, text);
}

void
local_file(struct local_delivery *d, const struct local_context *c, const char *path)
{
	bool dir = path[strlen(path) - 1] == '/';
	const char *text = "delivered to maildir";
	struct err err;
	uid_t uid;
	gid_t gid;
	bool ok;

	if (!local_first_time(d, "file %u %s", (unsigned)c->user.uid, path))
		return;
	if (!local_is_allowed(d, c->source, CONF_allow_mail_to_files)) {
		local_note_to_owner(
		    d, c->address, DELIVERY_BOUNCED, "5.7.1", "mail to file is restricted", NULL);
		return;
	}
	if (local_probe(
		d, c->address->addr, arena_printf(&d->work->arena, "delivers to file: %s", path)))
		return;
	if (!local_rights(d, c, &uid, &gid))
		return;
	err_clear(&err);
	ok = dir ? local_to_maildir_file(d, c, path, uid, gid, &err)
		 : local_to_any_file(d, c, path, uid, gid, &err);
	if (!ok && err.kind == ERR_PERM && !dir) {
		local_note_to_owner(d, c->address, DELIVERY_BOUNCED, err.dsn, err.text, NULL);
		return;
	}
	if (!ok || err.kind == ERR_GONE) {
		local_note_err(d, c->address->addr, &err);
		return;
	}
	if (!dir)
		text = arena_printf(&d->work->arena, "delivered to file: %s", path);
	local_note(d, c->address->addr, DELIVERY_SENT, "2.0.0", text, NULL);
}
