/*
 * maildir.c - maildirs: the message is written to tmp/, flushed to disk, and linked into new/ under a name that no other
 * delivery, process or host can choose. Only the link makes it visible, and it is flushed before anybody is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "mailbox/mailbox.h"

struct maildir_paths {
	char *base; /* without "/" at its end; all owned */
	char *tmp_file;
	char *new_dir;
	char *new_file;
	char host[HOST_NAME_MAX + 1]; /* the machine's own name */
};

static void
maildir_paths_done(struct maildir_paths *p)
{
	mem_free(p->base);
	mem_free(p->tmp_file);
	mem_free(p->new_dir);
	mem_free(p->new_file);
}

/* Makes `path` and what is missing above it, for its owner only. */
static bool
maildir_make_dirs(const char *path)
{
	char *copy CLEANUP(mem_free_str) = mem_strdup(path);

	for (char *at = copy + 1;; at++) {
		struct stat st;
		char c = *at;

		if (c != '/' && c != '\0')
			continue;
		*at = '\0';
		if (stat(copy, &st) != 0 && (errno != ENOENT || mkdir(copy, 0700) != 0) &&
		    errno != EEXIST)
			return false;
		if (c == '\0')
			return true;
		*at = c;
	}
}

static bool
maildir_make(const struct maildir_paths *p)
{
	static const char *const parts[] = {"tmp", "new", "cur"};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		char *dir CLEANUP(mem_free_str) = mem_printf("%s/%s", p->base, parts[i]);

		if (!maildir_make_dirs(dir))
			return false;
	}
	return true;
}

static int
maildir_create(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

/* A file in tmp/; the maildir is made when it is not there. */
static int
maildir_open_tmp(struct maildir_paths *p)
{
	int fd = maildir_create(p->tmp_file);

	if (fd >= 0 || errno != ENOENT || !maildir_make(p))
		return fd;
	return maildir_create(p->tmp_file);
}

/* Seconds, device, inode and microseconds: as other delivery agents name them. */
static bool
maildir_name(struct maildir_paths *p, int fd)
{
	int64_t now = clock_real_us();
	struct stat st;

	if (fstat(fd, &st) != 0)
		return false;
	p->new_file = mem_printf("%s/%lld.V%llxI%llxM%lld.%s", p->new_dir,
	    (long long)(now / CLOCK_SECOND), (unsigned long long)st.st_dev,
	    (unsigned long long)st.st_ino, (long long)(now % CLOCK_SECOND), p->host);
	return true;
}

static bool
maildir_sync(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);

	if (fd >= 0)
		(void)close(fd);
	return ok;
}

static bool
maildir_link(const struct maildir_paths *p)
{
	if (link(p->tmp_file, p->new_file) == 0)
		return true;
	return errno == ENOENT && maildir_make(p) && link(p->tmp_file, p->new_file) == 0;
}

static bool
maildir_publish(
    struct agent_work *w, const struct maildir *m, struct maildir_paths *p, int fd, struct err *err)
{
	if (!maildir_name(p, fd))
		return mailbox_err(
		    err, "4.3.0", "cannot look at %s: %s", p->tmp_file, strerror(errno));
	if (!agent_work_may_go_on(w))
		return err_set(err, ERR_GONE, "4.3.0", "not ours any more");
	CRASH_POINT("maildir-before-link");
	if (!maildir_link(p))
		return mailbox_err(err, mailbox_dsn(errno, m->default_dsn), "link to %s: %s",
		    p->new_file, strerror(errno));
	CRASH_POINT("maildir-after-link");
	if (!maildir_sync(p->new_dir)) {
		int error = errno;

		(void)unlink(p->new_file);
		return mailbox_err(err, mailbox_dsn(error, "4.3.0"), "flush %s to disk: %s",
		    p->new_dir, strerror(error));
	}
	return true;
}

static bool
maildir_write(struct agent_work *w, const struct maildir *m, const struct mailbox_copy *copy,
    struct maildir_paths *p, int fd, struct err *err)
{
	enum mailbox_copy_result r = mailbox_copy_write(w, copy, fd, m->limit);

	if (r == MAILBOX_COPY_NO_CONTENT)
		return err_set(
		    err, ERR_TEMP, "4.3.0", "the content of the message is not to be had now");
	if (r != MAILBOX_COPY_OK || fsync(fd) != 0)
		return mailbox_err(err, mailbox_dsn(errno, m->default_dsn),
		    "error writing message: %s", strerror(errno));
	return maildir_publish(w, m, p, fd, err);
}

/* With the recipient's rights. */
static bool
maildir_deliver_as(struct agent_work *w, const struct maildir *m, const struct mailbox_copy *copy,
    struct maildir_paths *p, struct err *err)
{
	int fd = maildir_open_tmp(p);
	bool ok;

	if (fd < 0) {
		int error = errno;

		if (error == EACCES) {
			log_warn("maildir access problem for UID/GID=%u/%u: create maildir file "
				 "%s: %s",
			    (unsigned)m->uid, (unsigned)m->gid, p->tmp_file, strerror(error));
			log_warn("perhaps you need to create the maildirs in advance");
		}
		return mailbox_err(err, mailbox_dsn(error, m->default_dsn),
		    "create maildir file %s: %s", p->tmp_file, strerror(error));
	}
	ok = maildir_write(w, m, copy, p, fd, err);
	(void)unlink(p->tmp_file);
	(void)close(fd);
	return ok;
}

bool
maildir_deliver(
    struct agent_work *w, const struct maildir *m, const struct mailbox_copy *copy, struct err *err)
{
	struct maildir_paths p = {0};
	size_t len = strlen(m->path);
	int64_t now = clock_real_us();
	bool ok;

	while (len > 1 && m->path[len - 1] == '/')
		len--;
	if (gethostname(p.host, sizeof(p.host)) != 0 || p.host[0] == '\0')
		(void)snprintf(p.host, sizeof(p.host), "localhost");
	p.host[sizeof(p.host) - 1] = '\0';
	p.base = mem_dup(m->path, len);
	p.new_dir = mem_printf("%s/new", p.base);
	p.tmp_file = mem_printf(
	    "%s/tmp/%lld.P%d.%s", p.base, (long long)(now / CLOCK_SECOND), (int)getpid(), p.host);
	agent_work_become(m->uid, m->gid);
	ok = maildir_deliver_as(w, m, copy, &p, err);
	agent_work_become_root();
	maildir_paths_done(&p);
	return ok;
}
