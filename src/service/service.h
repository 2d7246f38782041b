/*
 * service.h - the skeleton of every process that master starts: options, configuration, log, privileges, lifeline, the
 * loop, reload and orderly end. A program fills in one struct and calls service_main().
 *
 * Life of a process: parse options -> load configuration (the line's -o overrides included) -> open the log -> init() as
 * the starting user -> become the kind's user for good -> run() as the first task -> when told to leave (lifeline EOF or
 * SIGTERM) stopping() -> exit when all tasks have ended or service_stop_time has passed.
 */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include "base/base.h"
#include "conf/conf.h"

/* What an intruder in the process would get: the user it runs as. */
enum service_privilege {
	SERVICE_FRONT_END, /* mail_owner */
	SERVICE_SCHEDULER, /* scheduler_owner */
	SERVICE_AGENT,     /* agent_owner */
	SERVICE_ROOT,      /* stays root, drops per delivery (local, virtual, pipe) */
	SERVICE_CONSOLE,   /* console_owner */
};

struct service;

struct service_kind {
	const char *program; /* "smtpd": the word in the log tag */
	enum service_privilege privilege;
	/* As the starting user, before the loop: open what needs rights. May be NULL. Trouble: log_fatal(). */
	void (*init)(struct service *s);
	/* The first task: start listeners, links, whatever the service is; returning does not end the process. */
	void (*run)(struct service *s);
	/* SIGHUP or master's word: `s->conf` was replaced by a checked new configuration. May be NULL. */
	void (*reload)(struct service *s);
	/* Told to leave: stop accepting; finish what is in flight. May be NULL (then all tasks are cancelled). */
	void (*stopping)(struct service *s);
};

/* Most listening descriptors that master hands to one service. */
#define SERVICE_LISTEN_MAX 64

struct service {
	const struct service_kind *kind;
	const char *name;     /* first column of master.cf: "smtp", "127.0.0.1:2525", "relay" */
	const char *conf_dir; /* where main.cf and master.cf are */
	struct conf *conf;    /* current configuration; sessions keep their own reference */
	int listen_fds[SERVICE_LISTEN_MAX];
	size_t listen_count;
	size_t
	    slots; /* maxproc of the line, or the default of the kind: sessions or deliveries at once */
	size_t instance;  /* 0, 1, ...: which process of this service */
	size_t instances; /* how many there are */
	bool leaving;
	void *state; /* the kind's own */
};

/* Does all of the above; returns the exit status for main(). */
int service_main(int argc, char **argv, const struct service_kind *kind);

#endif
