/*
 * operator_session.h - what the operators' commands (postqueue, postsuper, postcat, mailq) have in common: reading the
 * configuration, the log, and work on the queue databases as the operator. A command calls operator_session_start(),
 * then operator_session_run() once with the work to do.
 */
#ifndef OPERATOR_OPERATOR_SESSION_H
#define OPERATOR_OPERATOR_SESSION_H

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"
#include "db/db.h"

/* How long one statement of an operator may take. */
#define OPERATOR_PATIENCE (300 * CLOCK_SECOND)

struct operator_program {
	const char *name;     /* in the log, behind syslog_name: "postqueue" */
	const char *shown;    /* on standard error: "mailq"; NULL: `name` */
	const char *conf_dir; /* of -c; NULL: $MAIL_CONFIG, or the standard directory */
	int verbose;
	bool unlogged; /* messages go to standard error only, whatever the configuration says */
	int failure;   /* exit status when it cannot even begin */
};

/* For messages about the command line, before there is a configuration: they go to standard error. */
void operator_session_log(const char *shown);

/*
 * The configuration, with one reference; the log goes where it says, and to standard error. Trouble: log_fatal(). With more
 * rights than its caller (set-gid) only a directory named in alternate_config_directories is taken.
 */
struct conf *operator_session_start(const struct operator_program *p);

struct operator_session;

/*
 * Runs `work` in a task, with the event loop and the resolver around it; its answer is returned. Blocking on standard
 * input and output is allowed there: nothing else runs.
 */
bool operator_session_run(const struct conf *c,
    bool (*work)(struct operator_session *s, void *arg, struct err *err), void *arg,
    struct err *err) MUST_CHECK;

const struct conf *operator_session_conf(const struct operator_session *s);

/* Number of queue databases. */
size_t operator_session_shards(const struct operator_session *s);

/* The pool of a shard (below the count), and a connection of it that stays ours until the end. Waits. */
struct db_pool *operator_session_pool(struct operator_session *s, size_t shard);
struct db_conn *operator_session_conn(struct operator_session *s, size_t shard, struct err *err);

/* The name of the person at the terminal, for the record of orders. Borrowed from the session. */
const char *operator_session_user(const struct operator_session *s);

/* Tells the scheduler of this host, if there is one, to look at the queue now. */
void operator_session_poke(const struct operator_session *s);

/* Writes to standard output; when that fails there is nobody to work for: log_fatal(). */
void operator_session_print(const void *ptr, size_t len);

#endif
