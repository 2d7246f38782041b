/*
 * service_log.c - see service_log.h.
 */
#include "service/service_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/span.h"

static const struct {
	const char *name;
	int facility;
} facilities[] = {
    {"auth", LOG_AUTH},
    {"authpriv", LOG_AUTHPRIV},
    {"cron", LOG_CRON},
    {"daemon", LOG_DAEMON},
    {"ftp", LOG_FTP},
    {"kern", LOG_KERN},
    {"lpr", LOG_LPR},
    {"mail", LOG_MAIL},
    {"news", LOG_NEWS},
    {"syslog", LOG_SYSLOG},
    {"user", LOG_USER},
    {"uucp", LOG_UUCP},
    {"local0", LOG_LOCAL0},
    {"local1", LOG_LOCAL1},
    {"local2", LOG_LOCAL2},
    {"local3", LOG_LOCAL3},
    {"local4", LOG_LOCAL4},
    {"local5", LOG_LOCAL5},
    {"local6", LOG_LOCAL6},
    {"local7", LOG_LOCAL7},
};

bool
service_log_facility(const char *name, int *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(facilities); i++) {
		if (strcmp(facilities[i].name, name) == 0) {
			*ret = facilities[i].facility;
			return true;
		}
	}
	return false;
}

/* A file below one of maillog_file_prefixes; the parameter guards against a slip of an admin, not against an attacker. */
static bool
has_prefix(const struct conf *c, const char *file)
{
	struct span rest = span_str(conf_str(c, CONF_maillog_file_prefixes));
	struct span path = span_str(file);
	struct span prefix;

	while (span_word(&rest, ", \t\r\n", &prefix)) {
		if (prefix.len == 0 || path.len < prefix.len ||
		    !span_equal(span_head(path, prefix.len), prefix))
			continue;
		if (path.len == prefix.len || prefix.ptr[prefix.len - 1] == '/' ||
		    path.ptr[prefix.len] == '/')
			return true;
	}
	return false;
}

static unsigned
permissions(const struct conf *c)
{
	const char *text = conf_str(c, CONF_maillog_file_permissions);

	return strstr(text, "644") != NULL ? 0644 : strstr(text, "640") != NULL ? 0640 : 0600;
}

bool
service_log_open(const struct conf *c, int *ret, struct err *err)
{
	const char *file = conf_str(c, CONF_maillog_file);
	int fd;

	if (file[0] == '\0') {
		*ret = -1;
		return true;
	}
	if (!has_prefix(c, file))
		return err_set(err, ERR_CONFIG, "",
		    "maillog_file = %s does not match maillog_file_prefixes = %s", file,
		    conf_str(c, CONF_maillog_file_prefixes));
	if (strcmp(file, "/dev/stdout") == 0)
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	else
		fd = open(
		    file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, permissions(c));
	if (fd < 0)
		return err_set(
		    err, ERR_CONFIG, "", "open maillog_file %s: %s", file, strerror(errno));
	*ret = fd;
	return true;
}

/* A datagram socket to master; -1 when there is none to be reached. */
static int
open_socket(const struct conf *c)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct buf path CLEANUP(buf_done) = {0};
	int fd;

	buf_printf(&path, "%s/%s", conf_str(c, CONF_queue_directory), SERVICE_LOG_SOCKET);
	if (path.len >= sizeof(sa.sun_path))
		return -1;
	memcpy(sa.sun_path, path.ptr, path.len + 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

bool
service_log_setup(const struct conf *c, const struct service_log *log, struct err *err)
{
	struct buf tag CLEANUP(buf_done) = {0};
	struct log_settings settings = {.fd = -1};

	if (!service_log_open(c, &settings.fd, err)) {
		settings.fd = open_socket(c);
		if (settings.fd < 0)
			return false;
	}
	if (log->tag != NULL)
		buf_add_str(&tag, log->tag);
	else
		buf_printf(&tag, "%s/%s", conf_str(c, CONF_syslog_name), log->program);
	settings.tag = buf_str(&tag);
	settings.host = conf_str(c, CONF_myhostname);
	settings.use_syslog = settings.fd < 0;
	if (!service_log_facility(conf_str(c, CONF_syslog_facility), &settings.facility))
		settings.facility = LOG_MAIL;
	settings.also_stderr = log->also_stderr;
	settings.stderr_tag = log->stderr_tag;
	settings.verbose = log->verbose;
	log_setup(&settings);
	return true;
}
