/*
 * master_int.h - the supervisor's state, shared by the files of this room. All of it belongs to one process with one
 * loop; tasks change it only between waits.
 */
#ifndef MASTER_MASTER_INT_H
#define MASTER_MASTER_INT_H

#include <sys/types.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "conf/conf.h"
#include "master/master_listen.h"
#include "master/master_plan.h"
#include "task/task.h"

struct master;
struct master_job;
struct master_database;

enum master_process_state {
	MASTER_PROCESS_PAUSE,    /* not there: between two lives, or gone for good */
	MASTER_PROCESS_STARTING, /* started, has not said "ready" */
	MASTER_PROCESS_READY,
	MASTER_PROCESS_LEAVING, /* told to leave */
};

/* One process of a service, through all its lives. A keeper task starts, watches and restarts it. */
struct master_process {
	struct master_job *job; /* borrowed */
	size_t instance;
	enum master_process_state state;
	pid_t pid;       /* 0: none */
	int control;     /* our end of the control socket; -1: none */
	int64_t started; /* mono us */
	unsigned starts;
	unsigned failures; /* lives that ended before "ready" */
	int64_t delay;     /* pause before the next start */
};

/* One line of master.cf that runs. */
struct master_job {
	struct list node; /* in master.jobs, or master.leaving */
	struct master *master;
	struct master_plan_service plan;  /* owned */
	struct master_process *processes; /* owned; plan.processes of them */
	struct task_group keepers;
	struct task_cond changed; /* ends the pause of a keeper */
	struct task_timer kill_limit;
	bool leaving;
};

/* How the end comes. */
enum master_end {
	MASTER_END_ALL,
	MASTER_END_KEEP_DATABASE, /* the embedded PostgreSQL stays, to be adopted by the next start */
	MASTER_END_ABORT,         /* services are killed */
};

struct master {
	const char *conf_dir; /* absolute */
	char *program_dir;    /* owned */
	struct conf *conf;
	struct master_sockets sockets;
	struct list jobs;
	struct list leaving;              /* replaced or removed: finishing what they have */
	struct task_cond changed;         /* a process became ready, failed or went */
	struct task_lock change;          /* held by start, reload, stop: one at a time */
	struct master_database *database; /* NULL: none of our own */
	int process_lock;                 /* inherited by all service processes */
	int shelf;         /* service/shelf.h, for those who put contents there; -1: none */
	int shelf_to_read; /* the same for those who take them */
	int log_fd;        /* maillog_file, for lines of others; -1: none */
	int start_fd;      /* pipe to whoever waits for the start; -1: nobody */
	int64_t started;   /* real us */
	int exit_status;
	bool others_left; /* processes of a master that died were still there when we came */
	bool stopping;
	enum master_end end;
};

/* ---- master_process.c --------------------------------------------------------------------------------------- */

/* The keeper task of a process (arg: struct master_process); ends when its service leaves and the process is gone. */
void master_process_keep(void *arg);

/* Sends SIGKILL / SIGTERM to the process if there is one. */
void master_process_signal(struct master_process *p, int signo);

/*
 * Runs body(arg) in a child as the user of `privilege`, with its standard output and error in a pipe; waits for its end
 * and appends what it wrote to `ret_output` (cut). False with ERR_TEMP when it cannot be started or did not end with 0:
 * *ret_status is the exit status, or 128 + signal. Waits.
 */
bool master_process_call(struct master *m, enum service_privilege privilege, int (*body)(void *arg),
    void *arg, int64_t deadline, struct buf *ret_output, int *ret_status,
    struct err *err) MUST_CHECK;

/* The same with a program: argv[0] is its path, NULL ends the list. */
bool master_process_run(struct master *m, enum service_privilege privilege,
    const char *const argv[], int64_t deadline, struct buf *ret_output, int *ret_status,
    struct err *err) MUST_CHECK;

/*
 * Starts body(arg) in a child as the user of `privilege`, without waiting for its end: the body is to exec. 0 with err
 * when that fails.
 */
pid_t master_process_detach(struct master *m, enum service_privilege privilege,
    int (*body)(void *arg), void *arg, struct err *err);

/* ---- master_job.c --------------------------------------------------------------------------------------- */

/* Starts a service; takes over what `plan` holds and leaves it empty. */
struct master_job *master_job_start(struct master *m, struct master_plan_service *plan);

/* True when every process has become ready at least once. */
bool master_job_is_ready(const struct master_job *job);
/* True when a process died before it was ready. */
bool master_job_has_failed(const struct master_job *job);

/* Tells every process to reload / to use another log file. */
void master_job_reload(struct master_job *job);
void master_job_new_log(struct master_job *job, int fd);

/*
 * Tells every process to finish and go; what is there after drain_time and a grace is killed. Moves the service to the
 * leaving ones, where it is freed when the last process is gone. Never waits.
 */
void master_job_leave(struct master_job *job);

/* Sends `signo` to every process of the service. */
void master_job_signal(struct master_job *job, int signo);

/* ---- master_status.c ---------------------------------------------------------------------------------------- */

/* What `rowpost status` shows. */
void master_status_write(const struct master *m, struct buf *out);

/* ---- master_control.c --------------------------------------------------------------------------------------- */

/* Binds the control socket and answers on it (a task); false with err when it cannot be bound. */
bool master_control_start(struct master *m, struct err *err) MUST_CHECK;

/* ---- master_postlog.c --------------------------------------------------------------------------------------- */

/* Writes down the log lines of processes that may not open maillog_file; a failure is logged and does no more harm. */
void master_postlog_start(struct master *m);

/* Opens maillog_file again and hands it to all processes. */
bool master_postlog_reopen(struct master *m, struct err *err) MUST_CHECK;

/* ---- master_reload.c ---------------------------------------------------------------------------------------- */

/*
 * Reads the configuration again and makes it so; false with err (the file and line) and everything as before when it
 * is not good. Waits.
 */
bool master_reload(struct master *m, struct err *err) MUST_CHECK;

/* The plan of the configuration as it is now. */
bool master_reload_plan(
    struct master *m, const struct conf *c, struct master_plan *ret, struct err *err) MUST_CHECK;

/* Starts, replaces and sends away jobs so that the plan is what runs. Its sockets are open. Takes services out of `plan`. */
void master_reload_apply(struct master *m, struct master_plan *plan);

/* ---- master.c ----------------------------------------------------------------------------------------------- */

/* Begins the orderly end; returns at once. */
void master_stop(struct master *m, enum master_end end);

#endif
