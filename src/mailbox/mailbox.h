/*
 * mailbox.h - delivery to one mailbox file (mbox) or maildir, by a worker that has the recipient's rights. Nothing is reported as
 * delivered before it is on disk; a file that could not be written to its end is cut back to what it was.
 */
#ifndef MAILBOX_MAILBOX_H
#define MAILBOX_MAILBOX_H

#include <sys/types.h>

#include "agent/agent_worker_side.h"
#include "base/base.h"
#include "base/err.h"
#include "mailbox/mailbox_copy.h"

enum mailbox_lock {
	MAILBOX_LOCK_FCNTL = 1 << 0,
	MAILBOX_LOCK_FLOCK = 1 << 1,
	MAILBOX_LOCK_DOT = 1 << 2,          /* FILE.lock, before the file is opened */
	MAILBOX_LOCK_DOT_MAY_FAIL = 1 << 3, /* where the directory cannot be written to */
};

/* Locks named by a parameter: mailbox_delivery_lock, virtual_mailbox_lock. */
unsigned mailbox_locks_of(const struct conf *c, enum conf_param p);

/*
 * A limit of mailboxes that is smaller than what a message may be is an operator's mistake: mail waits until it is mended. False with a
 * warning, and ERR_TEMP.
 */
bool mailbox_limit_is_good(
    const struct conf *c, enum conf_param limit, const char *name, struct err *err) MUST_CHECK;

/* Who opens the file, who writes it, and whose it must be. */
struct mailbox_rights {
	uid_t uid; /* the recipient */
	gid_t gid;
	uid_t
	    open_uid; /* who may create and lock it; root in a spool directory that users cannot write to */
	gid_t open_gid;
	bool strict_owner; /* strict_mailbox_ownership */
};

struct mailbox_file {
	const char *path;
	struct mailbox_rights rights;
	unsigned locks;
	uint64_t limit;          /* bytes of the whole file; 0: none */
	const char *default_dsn; /* for errors that say nothing by themselves: "5.2.0", "4.2.0" */
	bool any_file; /* a /file/name of an alias: /dev/null and pipes too, no executables */
};

/*
 * Appends the message. Deviating rights are taken for the time of the call and root's afterwards. False: `err` has dsn and text,
 * ERR_PERM or ERR_TEMP; ERR_GONE: the lease is over, nothing was done. Blocks.
 */
bool mailbox_deliver(struct agent_work *w, const struct mailbox_file *m,
    const struct mailbox_copy *copy, struct err *err) MUST_CHECK;

/*
 * Delivers to the maildir `path` ("/" at its end or not) as uid and gid; makes it where it is missing. `limit` bytes for the
 * message. Errors as mailbox_deliver().
 */
struct maildir {
	const char *path;
	uid_t uid;
	gid_t gid;
	uint64_t limit;
	const char *default_dsn;
};
bool maildir_deliver(struct agent_work *w, const struct maildir *m, const struct mailbox_copy *copy,
    struct err *err) MUST_CHECK;

/* What a failed system call on a mailbox means: "5.2.2" for a full one, ... */
const char *mailbox_dsn(int error, const char *otherwise);

/* Sets `err` by mailbox_dsn(): permanent or temporary by its class. Returns false. */
bool mailbox_err(struct err *err, const char *dsn, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* ---- mailbox_lock.c ---- */

/* Makes FILE.lock. False with errno of what is the matter (EEXIST: somebody holds it); `err` is set. Blocks. */
bool mailbox_dotlock(
    const struct conf *c, const char *path, const char *default_dsn, struct err *err) MUST_CHECK;
void mailbox_dotunlock(const char *path);

/* Locks the open file by fcntl and flock as `locks` say. Blocks. */
bool mailbox_lock_fd(const struct conf *c, int fd, unsigned locks, struct err *err) MUST_CHECK;

#endif
