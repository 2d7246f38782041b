/*
 * table_simple.c - the types without a file: static, fail, environ, unix.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "base/mem.h"
#include "table/table_type.h"

/* ---- static:value, static:{value with white space} -------------------------------------------------------------- */

static bool
table_static_open(struct table *t, struct err *err)
{
	struct buf content CLEANUP(buf_done) = {0};
	struct span value = t->argument;
	const char *problem = value.ptr[0] == '{' ? table_braces(t->argument, &value) : NULL;

	if (problem != NULL)
		return err_set(err, ERR_CONFIG, "4.3.5", "bad static:name syntax: %s in \"%.*s\"",
		    problem, SPAN_ARG(t->argument));
	if ((t->flags & TABLE_FILE_VALUES) != 0) {
		if (!table_add_files(&content, value, err))
			return false;
		value = buf_span(&content);
	}
	t->state = span_dup(value);
	return true;
}

static enum table_result
table_static_lookup(
    struct table *t, struct span key UNUSED, struct buf *value, struct err *err UNUSED)
{
	buf_add_str(value, t->state);
	return TABLE_FOUND;
}

/* ---- fail:anything ------------------------------------------------------------------------------------------------ */

static bool
table_fail_open(struct table *t UNUSED, struct err *err UNUSED)
{
	return true;
}

static enum table_result
table_fail_lookup(struct table *t UNUSED, struct span key UNUSED, struct buf *value UNUSED,
    struct err *err UNUSED)
{
	return TABLE_ERROR;
}

static bool
table_fail_each(struct table *t,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err) UNUSED,
    void *arg UNUSED, struct err *err)
{
	return err_set(
	    err, ERR_TEMP, "4.3.0", "table %s: sequence error: Application error", t->spec);
}

/* ---- environ:anything --------------------------------------------------------------------------------------------- */

static enum table_result
table_environ_lookup(
    struct table *t UNUSED, struct span key, struct buf *value, struct err *err UNUSED)
{
	char *name CLEANUP(mem_free_str) = span_dup(key);
	const char *found = getenv(name);

	if (found == NULL)
		return TABLE_NOT_FOUND;
	buf_add_str(value, found);
	return TABLE_FOUND;
}

/* ---- unix:passwd.byname, unix:group.byname ------------------------------------------------------------------------ */

#define TABLE_UNIX_BUFFER_MAX ((size_t)1 << 20)

static bool
table_unix_open(struct table *t, struct err *err)
{
	if (span_equal_str(t->argument, "passwd.byname") ||
	    span_equal_str(t->argument, "group.byname"))
		return true;
	return err_set(err, ERR_CONFIG, "4.3.5", "unknown table: %s", t->spec);
}

static int
table_unix_passwd(const char *name, char *room, size_t size, struct buf *value, bool *ret_found)
{
	struct passwd entry;
	struct passwd *pw = NULL;
	int error = getpwnam_r(name, &entry, room, size, &pw);

	*ret_found = pw != NULL;
	if (pw != NULL)
		buf_printf(value, "%s:%s:%ld:%ld:%s:%s:%s", pw->pw_name, pw->pw_passwd,
		    (long)pw->pw_uid, (long)pw->pw_gid, pw->pw_gecos, pw->pw_dir, pw->pw_shell);
	return error;
}

static int
table_unix_group(const char *name, char *room, size_t size, struct buf *value, bool *ret_found)
{
	struct group entry;
	struct group *gr = NULL;
	int error = getgrnam_r(name, &entry, room, size, &gr);

	*ret_found = gr != NULL;
	if (gr == NULL)
		return error;
	buf_printf(value, "%s:%s:%ld:", gr->gr_name, gr->gr_passwd, (long)gr->gr_gid);
	for (char **member = gr->gr_mem; *member != NULL; member++)
		buf_printf(value, "%s%s", member == gr->gr_mem ? "" : ",", *member);
	return error;
}

/* No such entry, in the words of the different sources of names (getpwnam(3)). */
static bool
table_unix_is_absent(int error)
{
	return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

static enum table_result
table_unix_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	char *name CLEANUP(mem_free_str) = span_dup(key);
	bool passwd = t->argument.ptr[0] == 'p';
	struct buf room CLEANUP(buf_done) = {0};
	size_t size = 1024;
	bool found;
	int error;

	do {
		char *space = buf_room(&room, size);

		error = passwd ? table_unix_passwd(name, space, size, value, &found)
			       : table_unix_group(name, space, size, value, &found);
		size *= 4;
	} while (error == ERANGE && size <= TABLE_UNIX_BUFFER_MAX);
	if (found)
		return TABLE_FOUND;
	if (table_unix_is_absent(error))
		return TABLE_NOT_FOUND;
	(void)err_set(err, ERR_TEMP, "4.3.0", "%s", strerror(error));
	return TABLE_ERROR;
}

const struct table_type table_static_type = {
    .name = "static",
    .open = table_static_open,
    .lookup = table_static_lookup,
    .close = mem_free,
};

const struct table_type table_fail_type = {
    .name = "fail",
    .open = table_fail_open,
    .lookup = table_fail_lookup,
    .each = table_fail_each,
    .close = mem_free,
};

const struct table_type table_environ_type = {
    .name = "environ",
    .open = table_fail_open,
    .lookup = table_environ_lookup,
    .close = mem_free,
};

const struct table_type table_unix_type = {
    .name = "unix",
    .open = table_unix_open,
    .lookup = table_unix_lookup,
    .close = mem_free,
    .blocks = true,
};
