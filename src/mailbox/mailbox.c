/*
 * mailbox.c - see mailbox.h. The order is: lock file, open, checks, lock, append, flush to disk, unlock.
 */
#include "mailbox/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"

const char *
mailbox_dsn(int error, const char *otherwise)
{
	switch (error) {
	case EAGAIN:
	case ESTALE:
	case EINTR:
		return "4.2.0";
	case EDQUOT:
	case EFBIG:
		return "5.2.2";
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOSPC:
	case EIO:
		return "4.3.0";
	default:
		return otherwise;
	}
}

bool
mailbox_err(struct err *err, const char *dsn, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return err_set(err, dsn[0] == '5' ? ERR_PERM : ERR_TEMP, dsn, "%s", text);
}

bool
mailbox_limit_is_good(
    const struct conf *c, enum conf_param limit, const char *name, struct err *err)
{
	size_t most = conf_size(c, limit);
	size_t message = conf_size(c, CONF_message_size_limit);

	if (most == 0 || (message != 0 && message <= most))
		return true;
	log_warn("main.cf configuration error: %s is smaller than message_size_limit", name);
	return err_set(err, ERR_TEMP, "4.3.5", "mail system configuration error");
}

/* ---- opening ---- */

/*
 * An existing file is opened without following a link, unless root made the link; a new one is made exclusively. So nobody can
 * have us write to somebody else's file by renaming.
 */
static int
mailbox_open_path(const char *path, bool *ret_new)
{
	struct stat link;
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

	*ret_new = false;
	if (fd < 0 && errno == ELOOP && lstat(path, &link) == 0 && link.st_uid == 0)
		fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 || errno != ENOENT)
		return fd;
	*ret_new = true;
	return open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
}

/* Is what we opened what we may write to? */
static bool
mailbox_check(const struct mailbox_file *m, const struct stat *st, struct err *err)
{
	if (S_ISREG(st->st_mode) && st->st_nlink > 1)
		return mailbox_err(err, "5.2.0", "destination %s has %lu hard links", m->path,
		    (unsigned long)st->st_nlink);
	if (m->any_file) {
		if (S_ISREG(st->st_mode) && (st->st_mode & 0111) != 0)
			return mailbox_err(err, "5.7.1", "file is executable");
		return true;
	}
	if (!S_ISREG(st->st_mode))
		return mailbox_err(err, "5.2.0", "destination %s is not a regular file", m->path);
	if (m->rights.strict_owner && st->st_uid != m->rights.uid) {
		log_warn("specify \"strict_mailbox_ownership = no\" to ignore mailbox ownership "
			 "mismatch");
		return mailbox_err(
		    err, "4.2.0", "destination %s is not owned by recipient", m->path);
	}
	return true;
}

static int
mailbox_open(const struct mailbox_file *m, struct stat *st, bool *ret_new, struct err *err)
{
	int fd = mailbox_open_path(m->path, ret_new);

	if (fd < 0) {
		(void)mailbox_err(err, mailbox_dsn(errno, m->default_dsn), "%s: %s",
		    *ret_new ? "cannot create file exclusively" : "cannot open file",
		    strerror(errno));
		return -1;
	}
	if (*ret_new && m->rights.open_uid != m->rights.uid &&
	    fchown(fd, m->rights.uid, m->rights.gid) != 0) {
		(void)mailbox_err(err, mailbox_dsn(errno, m->default_dsn),
		    "cannot change file ownership: %s", strerror(errno));
		(void)close(fd);
		return -1;
	}
	if (fstat(fd, st) != 0 || !mailbox_check(m, st, err)) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* ---- appending ---- */

static void
mailbox_cut_back(int fd, off_t size, const char *path)
{
	if (ftruncate(fd, size) != 0 || fsync(fd) != 0)
		log_warn(
		    "cannot cut %s back to %lld bytes: %s", path, (long long)size, strerror(errno));
}

/* A new file is durable when its directory is. */
static bool
mailbox_sync_dir(const char *path)
{
	char *copy CLEANUP(mem_free_str) = mem_strdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok;

	/* A directory that its user may write to but not read cannot be synced by him. */
	if (fd < 0)
		return errno == EACCES;
	ok = fsync(fd) == 0 || errno == EINVAL;
	(void)close(fd);
	return ok;
}

static bool
mailbox_append(struct agent_work *w, const struct mailbox_file *m, const struct mailbox_copy *copy,
    int fd, bool fresh, struct err *err)
{
	struct stat st;
	uint64_t room = 0;
	enum mailbox_copy_result r;
	bool ok;

	if (fstat(fd, &st) != 0)
		return mailbox_err(err, "4.3.0", "cannot look at the file: %s", strerror(errno));
	if (m->limit != 0 && S_ISREG(st.st_mode)) {
		if ((uint64_t)st.st_size >= m->limit)
			return mailbox_err(
			    err, "5.2.2", "error writing message: %s", strerror(EFBIG));
		room = m->limit - (uint64_t)st.st_size;
	}
	if (!agent_work_may_go_on(w))
		return err_set(err, ERR_GONE, "4.3.0", "not ours any more");
	r = mailbox_copy_write(w, copy, fd, room);
	CRASH_POINT("mailbox-written");
	ok = r == MAILBOX_COPY_OK &&
	     (!S_ISREG(st.st_mode) || (fsync(fd) == 0 && (!fresh || mailbox_sync_dir(m->path))));
	if (ok) {
		CRASH_POINT("mailbox-durable");
		return true;
	}
	if (r == MAILBOX_COPY_NO_CONTENT)
		(void)err_set(
		    err, ERR_TEMP, "4.3.0", "the content of the message is not to be had now");
	else
		(void)mailbox_err(err, mailbox_dsn(errno, m->default_dsn),
		    "error writing message: %s", strerror(errno));
	if (S_ISREG(st.st_mode))
		mailbox_cut_back(fd, st.st_size, m->path);
	return false;
}

/* With the lock file held, if there is to be one. */
static bool
mailbox_deliver_locked(struct agent_work *w, const struct mailbox_file *m,
    const struct mailbox_copy *copy, struct err *err)
{
	struct stat st;
	bool fresh, ok;
	int fd = mailbox_open(m, &st, &fresh, err);

	if (fd < 0)
		return false;
	/* Written with the user's own rights, so that quotas count. */
	if (m->rights.open_uid != m->rights.uid || m->rights.open_gid != m->rights.gid)
		agent_work_become(m->rights.uid, m->rights.gid);
	ok = (!S_ISREG(st.st_mode) || mailbox_lock_fd(w->conf, fd, m->locks, err)) &&
	     mailbox_append(w, m, copy, fd, fresh, err);
	if (close(fd) != 0 && ok)
		ok = mailbox_err(err, mailbox_dsn(errno, m->default_dsn),
		    "error writing message: %s", strerror(errno));
	if (m->rights.open_uid != m->rights.uid || m->rights.open_gid != m->rights.gid)
		agent_work_become(m->rights.open_uid, m->rights.open_gid);
	return ok;
}

/* Devices, pipes and directories get no lock file. */
static bool
mailbox_wants_dotlock(const struct mailbox_file *m)
{
	struct stat st;

	return (m->locks & MAILBOX_LOCK_DOT) != 0 &&
	       (stat(m->path, &st) != 0 || S_ISREG(st.st_mode));
}

bool
mailbox_deliver(struct agent_work *w, const struct mailbox_file *m, const struct mailbox_copy *copy,
    struct err *err)
{
	bool dotlock, ok;

	agent_work_become(m->rights.open_uid, m->rights.open_gid);
	dotlock = mailbox_wants_dotlock(m);
	if (dotlock && !mailbox_dotlock(w->conf, m->path, m->default_dsn, err)) {
		if ((m->locks & MAILBOX_LOCK_DOT_MAY_FAIL) == 0 || errno == EEXIST) {
			agent_work_become_root();
			return false;
		}
		/* Files in directories that cannot be written to are delivered to all the same. */
		log_warn("%s", err->text);
		dotlock = false;
	}
	ok = mailbox_deliver_locked(w, m, copy, err);
	if (dotlock)
		mailbox_dotunlock(m->path);
	agent_work_become_root();
	return ok;
}
