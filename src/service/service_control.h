/*
 * service_control.h - what master and a service process tell each other: single bytes over a SOCK_SEQPACKET pair, one
 * pair a process. The pair is the lifeline too: EOF on the service's end means that master is gone, and the service
 * leaves as if it had been told to.
 */
#ifndef SERVICE_SERVICE_CONTROL_H
#define SERVICE_SERVICE_CONTROL_H

#include "base/base.h"

enum service_message {
	SERVICE_GONE = 0, /* EOF or a broken socket: never sent */
	/* master -> service */
	SERVICE_RELOAD = 'H',
	SERVICE_LEAVE = 'T',
	SERVICE_NEW_LOG = 'L', /* with the descriptor of the freshly opened log file */
	/* service -> master */
	SERVICE_READY = 'R',
};

/* Sends one message, with descriptor `pass` unless it is -1. Never waits; a full or broken socket gives false. */
bool service_control_send(int fd, enum service_message message, int pass);

/*
 * Takes one message off the non-blocking socket. False when there is none yet. *ret_fd is a descriptor that came with it,
 * which the caller closes, or -1.
 */
bool service_control_receive(int fd, enum service_message *ret, int *ret_fd);

/*
 * SIGHUP, SIGINT and SIGTERM: master holds them back from before a process begins (SIG_BLOCK) until its loop can hear them
 * (SIG_UNBLOCK), instead of their ending it as no handler would.
 */
void service_control_signals(int how);

#endif
