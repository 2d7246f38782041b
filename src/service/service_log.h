/*
 * service_log.h - where the configuration sends log lines: maillog_file or syslog, tag and facility. Used by every
 * program; only the frame itself is base/log.
 */
#ifndef SERVICE_SERVICE_LOG_H
#define SERVICE_SERVICE_LOG_H

#include "base/base.h"
#include "base/err.h"
#include "conf/conf.h"

/* Where processes that may not open maillog_file send their lines, below queue_directory; master writes them down. */
#define SERVICE_LOG_SOCKET "public/postlog"

struct service_log {
	const char *program; /* the word behind syslog_name: "smtpd" */
	const char *tag;     /* instead of syslog_name/program; NULL: none */
	int verbose;
	bool also_stderr;
	const char *stderr_tag; /* on standard error, instead of the tag; NULL: the tag */
};

/*
 * Sets up the log of this process. With maillog_file: that file, or where it may not be opened the socket of a running
 * master. False with ERR_CONFIG when lines can go nowhere; the log then is standard error.
 */
bool service_log_setup(
    const struct conf *c, const struct service_log *log, struct err *err) MUST_CHECK;

/*
 * Opens maillog_file for appending, after checking it against maillog_file_prefixes. *ret = -1 when maillog_file is
 * empty.
 */
bool service_log_open(const struct conf *c, int *ret, struct err *err) MUST_CHECK;

/* The number of a syslog facility ("mail", "local0", ...). */
bool service_log_facility(const char *name, int *ret) MUST_CHECK;

#endif
