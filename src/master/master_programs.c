/*
 * master_programs.c - see master_programs.h.
 */
#include "master/master_programs.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/span.h"

bool
master_programs_dir(const struct conf *c, struct buf *ret, struct err *err)
{
	const char *set = conf_str(c, CONF_daemon_directory);
	char *own CLEANUP(mem_free_str) = mem_printf("%s/rowpost", set);
	char exe[PATH_MAX];
	ssize_t len;

	if (conf_is_set(c, CONF_daemon_directory) && access(own, X_OK) == 0) {
		buf_add_str(ret, set);
		return true;
	}
	len = readlink("/proc/self/exe", exe, sizeof(exe));
	if (len <= 0 || (size_t)len == sizeof(exe))
		return err_set(err, ERR_CONFIG, "", "/proc/self/exe: %s", strerror(errno));
	buf_add_span(ret,
	    span_head(span_of(exe, (size_t)len), span_find_last(span_of(exe, (size_t)len), '/')));
	return true;
}
