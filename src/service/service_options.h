/*
 * service_options.h - the command line that master gives to a service process, both ways: master writes it, the skeleton
 * reads it. A person may start a service by hand with -c alone: then there is no control socket and no listener.
 *
 *	-c DIR            configuration directory
 *	-n NAME -t TYPE   the master.cf line: columns 1 and 2
 *	-i I/N            this is process I (from 0) of N
 *	-s SLOTS          sessions or deliveries at once
 *	-L N              N listening sockets, descriptors 3 ... N + 2
 *	-C FD             the control socket to master
 *	-K FD             kept open, and closed on exec, for the life of the process: the lock by which master tells whether
 *	                  any service process is left
 *	-M FD             the memory of the node's shelf (shelf.h)
 *	-o NAME=VALUE     overrides of main.cf; -v: more log
 *
 * Words that are no option are arguments of the service (flags= and argv= of pipe): see service.h.
 */
#ifndef SERVICE_SERVICE_OPTIONS_H
#define SERVICE_SERVICE_OPTIONS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

/* Most listening descriptors that master hands to one service; the first of them. */
#define SERVICE_LISTEN_MAX   64
#define SERVICE_LISTEN_FIRST 3

struct service_options {
	const char *conf_dir;
	const char *name;
	const char *type;
	size_t instance;
	size_t instances;
	size_t slots;
	size_t listen_count;
	int control_fd; /* -1: none */
	int lock_fd;    /* -1: none */
	int shelf_fd;   /* -1: none */
	int verbose;
	struct conf_override *overrides; /* owned; texts borrowed from argv */
	size_t override_count;
	char **args; /* borrowed from argv: what stands behind the options */
	size_t arg_count;
};

/* Reads the command line; argv must outlive the result. ERR_CONFIG for what cannot be understood. */
bool service_options_parse(
    int argc, char **argv, struct service_options *ret, struct err *err) MUST_CHECK;

void service_options_done(struct service_options *o);

/*
 * The words for exec: program first, NULL last, each fresh, the array too. Released with service_options_free_argv().
 */
char **service_options_argv(const char *program, const struct service_options *o);
void service_options_free_argv(char ***argv);

#endif
