/*
 * local_forward.c - what users and lists keep in files: .forward and :include:. Read with the rights of their user, who must be their
 * owner; a file that others may write to is not trusted.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "mailbox/local_int.h"

/* ---- reading as somebody ---- */

static bool
local_read_all(int fd, struct buf *ret)
{
	while (ret->len < LOCAL_FILE_MAX) {
		ssize_t n = read(fd, buf_room(ret, 65536), 65536);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		buf_added(ret, (size_t)n);
	}
	errno = EFBIG;
	return false;
}

/* False with errno. */
static bool
local_read_file(const char *path, uid_t uid, gid_t gid, struct buf *ret)
{
	int fd, error;
	bool ok;

	agent_work_become(uid, gid);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ok = fd >= 0 && local_read_all(fd, ret);
	error = errno;
	if (fd >= 0)
		(void)close(fd);
	agent_work_become_root();
	errno = error;
	return ok;
}

static bool
local_stat(const char *path, uid_t uid, gid_t gid, bool follow, struct stat *st)
{
	int error;
	bool ok;

	agent_work_become(uid, gid);
	ok = (follow ? stat(path, st) : lstat(path, st)) == 0;
	error = errno;
	agent_work_become_root();
	errno = error;
	return ok;
}

bool
local_home_accessible(
    struct local_delivery *d, const struct local_address *a, const struct local_user *user)
{
	struct stat st;

	if (local_stat(user->home, user->uid, user->gid, true, &st))
		return true;
	local_note(d, a->addr, DELIVERY_DEFERRED, "4.3.0",
	    arena_printf(&d->work->arena, "cannot access home directory %s: %s", user->home,
		strerror(errno)),
	    NULL);
	return false;
}

/* ---- .forward ---- */

/* The first file of forward_path that is there. */
static const char *
local_forward_path(struct local_delivery *d, const struct local_address *a,
    const struct local_user *user, struct stat *st, bool *ret_used_extension)
{
	const struct conf *c = d->work->conf;
	struct span rest = span_str(conf_str(c, CONF_forward_path));
	struct span word;

	while (span_word(&rest, ", \t\r\n", &word)) {
		struct buf path CLEANUP(buf_done) = {0};
		const char *text = arena_dup(&d->work->arena, word);

		if (local_expand(d, a, user, text, conf_str(c, CONF_forward_expansion_filter),
			&path, ret_used_extension) &&
		    local_stat(buf_str(&path), user->uid, user->gid, false, st))
			return arena_strdup(&d->work->arena, buf_str(&path));
	}
	return NULL;
}

static bool
local_forward_is_good(const char *path, const struct local_user *user, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		log_warn("file %s is not a regular file", path);
	else if (st->st_uid != 0 && st->st_uid != user->uid)
		log_warn("file %s has bad owner uid %u", path, (unsigned)st->st_uid);
	else if ((st->st_mode & S_IWOTH) != 0)
		log_warn("file %s is world writable", path);
	else
		return true;
	return false;
}

static bool
local_forward_expand(struct local_delivery *d, const struct local_item *item,
    const struct local_address *a, const struct local_user *user, const char *path,
    const char *unmatched)
{
	struct local_context *c = arena_new(&d->work->arena, struct local_context);
	struct buf text CLEANUP(buf_done) = {0};

	if (!local_read_file(path, user->uid, user->gid, &text)) {
		log_warn("cannot open file %s: %s", path, strerror(errno));
		return false;
	}
	*c = *item->context;
	c->source = LOCAL_FROM_FORWARD;
	c->depth++;
	c->address = a;
	c->owner = a->user;
	c->expanded = a->local;
	c->unmatched = unmatched;
	c->user = *user;
	if (!conf_bool(d->work->conf, CONF_frozen_delivered_to))
		c->delivered = a->addr;
	if (local_push_members(d, c, buf_span(&text), true) == 0)
		return false;
	local_note_expanded(d, false);
	(void)local_first_time(d, "forward-done %s", path);
	return true;
}

bool
local_forward_file(struct local_delivery *d, const struct local_item *item,
    const struct local_address *a, const char *unmatched)
{
	const struct conf *conf = d->work->conf;
	struct local_user user;
	bool used_extension = false;
	const char *path;
	struct stat st;

	if (conf_str(conf, CONF_forward_path)[0] == '\0')
		return false;
	if (!local_find_user(d, a->addr, a->user, &user))
		return true;
	if (!user.known)
		return false;
	path = local_forward_path(d, a, &user, &st, &used_extension);
	if (path == NULL)
		return false;
	/* Its own user in it means the mailbox; a second way to the same file is done already. */
	if (!local_first_time(d, "forward %s", path))
		return !local_first_time(d, "forward-done %s", path) &&
		       item->context->address != NULL &&
		       strcmp(item->context->address->user, a->user) != 0;
	if (!local_forward_is_good(path, &user, &st))
		return false;
	if (used_extension || !conf_has(conf, CONF_propagate_unmatched_extensions, "forward"))
		unmatched = NULL;
	return local_forward_expand(d, item, a, &user, path, unmatched);
}

/* ---- :include: ---- */

/* What is wrong with somebody's list is for the administrator's eyes; the sender learns that it is not his fault. */
static void
local_include_failed(struct local_delivery *d, const struct local_context *c, const char *why)
{
	log_warn("%s", why);
	local_note(d, c->address->addr, DELIVERY_BOUNCED, "5.3.5",
	    "mail system configuration error", NULL);
}

/* Who may do what the members of an include file say: the user whose file named it, else the file's owner. */
static void
local_include_rights(struct local_delivery *d, const struct stat *st, struct local_context *c)
{
	if (c->user.known && c->user.uid != 0)
		return;
	if (!local_user_of(d, st->st_uid, &c->user))
		return;
	if (c->owner == NULL)
		c->owner = c->user.name;
}

/* Reads the list; what is wrong with it, or NULL. */
static const char *
local_include_read(struct local_delivery *d, const struct local_context *context, const char *path,
    struct stat *st, struct buf *text)
{
	struct arena *arena = &d->work->arena;
	uid_t uid = context->user.known ? context->user.uid : 0;
	gid_t gid = context->user.known ? context->user.gid : 0;

	if (path[0] != '/')
		return arena_printf(arena, ":include:%s uses a relative path", path);
	if (!local_stat(path, uid, gid, true, st))
		return arena_printf(
		    arena, "unable to lookup :include: file %s: %s", path, strerror(errno));
	if (!S_ISREG(st->st_mode))
		return arena_printf(arena, ":include: file %s is not a regular file", path);
	if ((st->st_mode & S_IWOTH) != 0)
		return arena_printf(arena, ":include: file %s is world writable", path);
	if (!local_read_file(path, uid, gid, text))
		return arena_printf(
		    arena, "cannot open include file %s: %s", path, strerror(errno));
	if (context->depth >= LOCAL_DEPTH_MAX)
		return arena_printf(arena, "endless :include: file %s", path);
	return NULL;
}

void
local_include(struct local_delivery *d, const struct local_context *context, const char *path)
{
	struct local_context *c;
	unsigned uid = context->user.known ? context->user.uid : 0;
	struct buf text CLEANUP(buf_done) = {0};
	struct stat st;
	const char *why;

	if (!local_first_time(d, "include %u %s", uid, path))
		return;
	why = local_include_read(d, context, path, &st, &text);
	if (why != NULL) {
		local_include_failed(d, context, why);
		return;
	}
	c = arena_new(&d->work->arena, struct local_context);
	*c = *context;
	c->source = LOCAL_FROM_INCLUDE;
	c->depth++;
	if (!conf_has(d->work->conf, CONF_propagate_unmatched_extensions, "include"))
		c->unmatched = NULL;
	local_include_rights(d, &st, c);
	(void)local_push_members(d, c, buf_span(&text), true);
}
