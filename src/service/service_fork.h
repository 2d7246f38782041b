/*
 * service_fork.h - processes that a service forks to do what blocks (lookups, deliveries): each has one socket to the service and
 * nothing else of it.
 */
#ifndef SERVICE_SERVICE_FORK_H
#define SERVICE_SERVICE_FORK_H

#include <sys/types.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

/*
 * Forks a process that runs body(arg, fd), which must not return; `fd` is a blocking socket to the service. Open in it are besides
 * only what is standard, the log, locks and the way to syslog; signals are as at exec, but SIGHUP and SIGPIPE are ignored. It
 * never touches the loop. Returns its id, with the service's end, which does not block, in *ret_fd; the caller waits for its end
 * (task_child_wait). 0 with `err` when there is no such process. Waits, also when the task is cancelled, for the end of this turn
 * of the loop: only there is the process on its own large stack.
 */
pid_t service_fork(void (*body)(void *arg, int fd), void *arg, int *ret_fd, struct err *err);

/*
 * In such a process: sends a frame of service/link.h to the service; receives the payload of the next one, which must be of this type.
 * Ends the process when the service is gone, or done with it: there is nobody to work for, and nobody who would hear of it. Blocks.
 */
void service_fork_send(int fd, uint8_t type, struct span payload);
void service_fork_receive(int fd, uint8_t type, struct buf *ret);

#endif
