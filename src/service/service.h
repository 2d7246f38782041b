/*
 * service.h - the skeleton of every process that master starts: options, configuration, log, privileges, lifeline, the
 * loop, reload and orderly end. A program fills in one struct and calls service_main().
 *
 * Life of a process: parse options -> load configuration (the line's -o overrides included) -> open the log -> change to
 * queue_directory -> init() as the starting user -> become the kind's user for good -> tell master "ready" -> run() as the
 * first task -> when told to leave (lifeline EOF, master's word, SIGTERM) stopping() -> exit when all tasks have ended or
 * drain_time has passed.
 *
 * Under master a process is ready when its loop starts: what it listens on was bound before. Whoever needs the database
 * or another service waits for it in its tasks and answers "temporary failure" meanwhile.
 */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include "base/base.h"
#include "conf/conf.h"
#include "service/service_options.h"
#include "service/service_privilege.h"

struct service;
struct shelf;

struct service_kind {
	const char *program; /* "smtpd": the word in the log tag */
	enum service_privilege privilege;
	/* As the starting user, before the loop: open what needs rights. May be NULL. Trouble: log_fatal(). */
	void (*init)(struct service *s);
	/*
	 * The first task: start listeners, links, whatever the service is; returning does not end the process. What waits
	 * long goes into tasks of its own: reload() and stopping() are called when run() has returned, and one of the three
	 * at a time.
	 */
	void (*run)(struct service *s);
	/*
	 * SIGHUP or master's word: `s->conf` was replaced by a checked new configuration. In a task of its own, may
	 * wait. May be NULL.
	 */
	void (*reload)(struct service *s);
	/*
	 * Told to leave: stop accepting; finish what is in flight, and let all tasks end. In a task of its own, may
	 * wait. May be NULL (then all tasks are cancelled at once). After drain_time all other tasks are cancelled, those in
	 * which it waits for a group too: it must not cancel a task that may have ended.
	 */
	void (*stopping)(struct service *s);
};

struct service {
	const struct service_kind *kind;
	const char *name;     /* first column of master.cf: "smtp", "127.0.0.1:2525", "relay" */
	const char *type;     /* second column: "inet", "unix" */
	const char *conf_dir; /* where main.cf and master.cf are */
	struct conf *conf;    /* current configuration; sessions keep their own reference */
	int listen_fds[SERVICE_LISTEN_MAX]; /* non-blocking; owned by the process */
	size_t listen_count;
	struct shelf *shelf; /* contents of the node's new mail; NULL: none */
	size_t slots;     /* sessions or deliveries at once in this process: its share of maxproc */
	size_t instance;  /* 0, 1, ...: which process of this service */
	size_t instances; /* how many there are */
	char **args;      /* words of the master.cf line after its options: flags=, argv=, ... */
	size_t arg_count;
	bool leaving;
	int64_t leave_by; /* mono us: when what is in flight is given up; set with `leaving` */
	void *state;      /* the kind's own */
};

/* Does all of the above; returns the exit status for main(). */
int service_main(int argc, char **argv, const struct service_kind *kind);

/* The configuration as it would be with one more `-o name=value` (stress=yes); the caller's reference. */
bool service_conf_with(
    const char *name, const char *value, struct conf **ret, struct err *err) MUST_CHECK;

/* The listening descriptor of the UNIX socket `path` below queue_directory ("private/qmgr"), or -1. */
int service_listen_fd(const struct service *s, const char *path);

#endif
