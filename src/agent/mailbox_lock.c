/*
 * mailbox_lock.c - locks on mailboxes, as other mail programs of the host know them: FILE.lock, fcntl(), flock(). Each is tried
 * deliver_lock_attempts times with deliver_lock_delay between.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/mailbox.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

unsigned
mailbox_locks_of(const struct conf *c, enum conf_param p)
{
	unsigned locks = 0;

	if (conf_has(c, p, "fcntl"))
		locks |= MAILBOX_LOCK_FCNTL;
	if (conf_has(c, p, "flock"))
		locks |= MAILBOX_LOCK_FLOCK;
	if (conf_has(c, p, "dotlock"))
		locks |= MAILBOX_LOCK_DOT;
	return locks;
}

static void
mailbox_lock_pause(const struct conf *c)
{
	int64_t us = conf_time(c, CONF_deliver_lock_delay);
	struct timespec rest = {us / CLOCK_SECOND, us % CLOCK_SECOND * 1000};

	while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
		continue;
}

/* A lock file whose maker died long ago is removed; by the clock of its file system, which may be another host's. */
static void
mailbox_break_stale(const struct conf *c, const char *lock)
{
	struct stat st;

	if (lstat(lock, &st) != 0)
		return;
	if (st.st_mtime + conf_time(c, CONF_stale_lock_time) / CLOCK_SECOND >=
	    clock_real_us() / CLOCK_SECOND)
		return;
	if (unlink(lock) == 0)
		log_warn("removed the stale lock file %s", lock);
}

bool
mailbox_dotlock(const struct conf *c, const char *path, const char *default_dsn, struct err *err)
{
	char *lock CLEANUP(mem_free_str) = mem_printf("%s.lock", path);
	int attempts = conf_int(c, CONF_deliver_lock_attempts);
	int error = 0;

	for (int i = 0; i < attempts; i++) {
		int fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);

		if (fd >= 0) {
			(void)close(fd);
			return true;
		}
		error = errno;
		if (error != EEXIST)
			break;
		mailbox_break_stale(c, lock);
		if (i + 1 < attempts)
			mailbox_lock_pause(c);
	}
	(void)mailbox_err(err, error == EEXIST ? "4.2.0" : mailbox_dsn(error, default_dsn),
	    "unable to create lock file %s: %s", lock, strerror(error));
	errno = error;
	return false;
}

void
mailbox_dotunlock(const char *path)
{
	char *lock CLEANUP(mem_free_str) = mem_printf("%s.lock", path);

	(void)unlink(lock);
}

static bool
mailbox_try_lock(int fd, unsigned locks)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if ((locks & MAILBOX_LOCK_FLOCK) != 0 && flock(fd, LOCK_EX | LOCK_NB) != 0)
		return false;
	return (locks & MAILBOX_LOCK_FCNTL) == 0 || fcntl(fd, F_SETLK, &whole) == 0;
}

bool
mailbox_lock_fd(const struct conf *c, int fd, unsigned locks, struct err *err)
{
	int attempts = conf_int(c, CONF_deliver_lock_attempts);

	for (int i = 0; i < attempts; i++) {
		if (mailbox_try_lock(fd, locks))
			return true;
		if (errno != EAGAIN && errno != EACCES && errno != EINTR && errno != EWOULDBLOCK)
			break;
		if (i + 1 < attempts)
			mailbox_lock_pause(c);
	}
	return mailbox_err(
	    err, "4.2.0", "unable to lock for exclusive access: %s", strerror(errno));
}
