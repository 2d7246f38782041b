/*
 * mailbox_lock.c - locks on mailboxes, as other mail programs of the host know them: FILE.lock, fcntl(), flock(). Each is tried
 * deliver_lock_attempts times with deliver_lock_delay between.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mailbox/mailbox.h"

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

/* ---- lock files ---- */

/* Who we are, as nobody else can be: process, its number space, this run of this host. */
static void
mailbox_owner_line(pid_t pid, char *ret, size_t size)
{
	char boot[64] = "";
	char space[64] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		ssize_t n = read(fd, boot, sizeof(boot) - 1);

		boot[n > 0 ? n : 0] = '\0';
		boot[strcspn(boot, "\n")] = '\0';
		(void)close(fd);
	}
	if (readlink("/proc/self/ns/pid", space, sizeof(space) - 1) < 0)
		space[0] = '\0';
	(void)snprintf(ret, size, "%d %s %s\n", (int)pid, boot, space);
}

/* Was the file made by a process of this host that has ended? Files of other programs never say so. */
static bool
mailbox_maker_is_dead(const char *lock)
{
	char there[256] = "";
	char ours[256];
	int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n;
	long pid;

	if (fd < 0)
		return false;
	n = read(fd, there, sizeof(there) - 1);
	(void)close(fd);
	if (n <= 0)
		return false;
	pid = strtol(there, NULL, 10);
	mailbox_owner_line((pid_t)pid, ours, sizeof(ours));
	return pid > 0 && strcmp(there, ours) == 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

/*
 * Removes the file that was judged, and no other that somebody has made in its place meanwhile: it is moved aside first, and put
 * back if it is not the one.
 */
static void
mailbox_break_lock(const char *lock, const struct stat *judged)
{
	char *aside CLEANUP(mem_free_str) = mem_printf("%s.%d", lock, (int)getpid());
	struct stat st;

	if (rename(lock, aside) != 0)
		return;
	if (lstat(aside, &st) == 0 && st.st_ino == judged->st_ino && st.st_dev == judged->st_dev)
		log_warn("removed the stale lock file %s", lock);
	else if (link(aside, lock) != 0)
		log_warn("cannot put the lock file %s back: %s", lock, strerror(errno));
	(void)unlink(aside);
}

/* A lock file whose maker has ended, or that is older than stale_lock_time by the clock of its file system, is removed. */
static void
mailbox_break_stale(const struct conf *c, const char *lock)
{
	int64_t oldest = clock_real_us() - conf_time(c, CONF_stale_lock_time);
	struct stat st;

	if (lstat(lock, &st) != 0)
		return;
	if (st.st_mtime < oldest / CLOCK_SECOND || mailbox_maker_is_dead(lock))
		mailbox_break_lock(lock, &st);
}

/* False with errno. */
static bool
mailbox_make_lock(const char *lock)
{
	char line[256];
	int fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	mailbox_owner_line(getpid(), line, sizeof(line));
	/* Without the line it is a lock all the same. */
	if (write(fd, line, strlen(line)) < 0)
		log_debug("%s: %s", lock, strerror(errno));
	(void)close(fd);
	return true;
}

bool
mailbox_dotlock(const struct conf *c, const char *path, const char *default_dsn, struct err *err)
{
	char *lock CLEANUP(mem_free_str) = mem_printf("%s.lock", path);
	int attempts = conf_int(c, CONF_deliver_lock_attempts);
	int error = 0;

	for (int i = 0; i < attempts; i++) {
		if (mailbox_make_lock(lock))
			return true;
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
