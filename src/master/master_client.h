/*
 * master_client.h - asking a running master, and finding out whether there is one. For commands: blocking, no loop.
 */
#ifndef MASTER_MASTER_CLIENT_H
#define MASTER_MASTER_CLIENT_H

#include <sys/types.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

/* Below queue_directory. The pid file is locked (flock) by the master that runs; the other lock by every service process. */
#define MASTER_CONTROL_SOCKET "pid/master.sock"
#define MASTER_PID_FILE       "pid/master.pid"
#define MASTER_PROCESS_LOCK   "pid/processes.lock"

#define MASTER_ASK_STATUS    "status"
#define MASTER_ASK_RELOAD    "reload"
#define MASTER_ASK_LOGROTATE "logrotate"
#define MASTER_ASK_STOP      "stop"
#define MASTER_ASK_STOP_KEEP "stop keep-database"
#define MASTER_ASK_ABORT     "abort"

/* The pid of the master that runs on queue_directory; 0: none. */
pid_t master_client_pid(const struct conf *c);

/* True while any service process is there, one of a master that died included. */
bool master_client_has_processes(const struct conf *c);

/*
 * Asks and waits for the whole answer. False with ERR_TEMP when nobody answers, with ERR_PERM and the reason when master
 * says no. `ret` gets what follows the line "ok". `seconds`: how long the answer may take.
 */
bool master_client_ask(const struct conf *c, const char *question, int seconds, struct buf *ret,
    struct err *err) MUST_CHECK;

#endif
