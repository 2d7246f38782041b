/*
 * table_cdb.c - cdb: tables (cdb_table(5)): a constant database beside the source, NAME.cdb, in D. J. Bernstein's format. It is
 * written as a whole and takes the place of the one before in one step; nothing is ever changed in it. Files of Postfix's
 * postmap are read too, with a NUL behind keys and values or without.
 */
#ifdef HAVE_CDB

#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "table/table_build.h"
#include "table/table_type.h"

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static void
table_cdb_close(void *state)
{
	cdb_free(state);
	mem_free(state);
}

static bool
table_cdb_open(struct table *t, struct err *err)
{
	int fd = open(t->path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	struct cdb *c;

	if (fd < 0)
		return err_set(
		    err, ERR_TEMP, "4.3.5", "open database %s: %s", t->path, strerror(errno));
	if (fstat(fd, &st) == 0)
		t->owner = st.st_uid;
	c = mem_new(struct cdb);
	if (cdb_init(c, fd) != 0) {
		mem_free(c);
		(void)close(fd);
		return err_set(err, ERR_TEMP, "4.3.5", "unable to init %s: not a cdb", t->path);
	}
	/* It is in memory from now on. */
	(void)close(fd);
	t->state = c;
	return true;
}

static enum table_result
table_cdb_take(struct table *t, struct span key, bool nul, struct buf *value, struct err *err)
{
	const struct cdb *c = t->state;
	struct span stored = span_of(cdb_getdata(c), cdb_datalen(c));

	if (stored.ptr == NULL) {
		(void)err_set(err, ERR_TEMP, "4.3.0", "damaged file");
		return TABLE_ERROR;
	}
	if (nul && stored.len != 0 && stored.ptr[stored.len - 1] == '\0')
		stored.len--;
	return table_take_stored(t, key, stored, value, err) ? TABLE_FOUND : TABLE_ERROR;
}

static enum table_result
table_cdb_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct buf room CLEANUP(buf_done) = {0};
	struct cdb *c = t->state;

	if (key.len >= INT32_MAX)
		return TABLE_NOT_FOUND;
	/* The NUL that follows what is in a buffer counts where the file has one. */
	buf_add_span(&room, key);
	for (unsigned nul = 0; nul <= 1; nul++) {
		int found = cdb_find(c, buf_str(&room), (unsigned)key.len + nul);

		if (found > 0)
			return table_cdb_take(t, key, nul != 0, value, err);
		if (found < 0) {
			(void)err_set(err, ERR_TEMP, "4.3.0", "%s", strerror(errno));
			return TABLE_ERROR;
		}
	}
	return TABLE_NOT_FOUND;
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

struct table_cdb_writer {
	struct cdb_make make;
	unsigned nul;
};

static bool
table_cdb_put(void *arg, struct span key, struct span value, struct err *err)
{
	struct table_cdb_writer *w = arg;

	if (key.len < INT32_MAX && value.len < INT32_MAX &&
	    cdb_make_add(&w->make, key.ptr, (unsigned)key.len + w->nul, value.ptr,
		(unsigned)value.len + w->nul) == 0)
		return true;
	return err_set(err, ERR_TEMP, "4.3.5", "%s", strerror(errno));
}

static bool
table_cdb_fill(
    const struct table_build *b, const struct table_build_options *options, int fd, struct err *err)
{
	struct table_cdb_writer *w = mem_new(struct table_cdb_writer);
	bool ok;

	w->nul = options->nul;
	ok = cdb_make_start(&w->make, fd) == 0 && table_build_each(b, table_cdb_put, w, err);
	/* Also releases what it has gathered. */
	if (cdb_make_finish(&w->make) != 0 || fchmod(fd, options->mode) != 0 || fsync(fd) != 0)
		ok = ok && err_set(err, ERR_TEMP, "4.3.5", "%s", strerror(errno));
	mem_free(w);
	return ok;
}

static bool
table_cdb_write(struct table_build *b, const struct table_build_options *options, struct err *err)
{
	char *file CLEANUP(mem_free_str) = mem_printf("%s.%ld", options->path, (long)getpid());
	int fd;
	bool ok;

	(void)unlink(file);
	fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, options->mode);
	if (fd < 0)
		return err_set(
		    err, ERR_TEMP, "4.3.5", "open database %s: %s", options->path, strerror(errno));
	ok = table_cdb_fill(b, options, fd, err);
	(void)close(fd);
	if (ok && rename(file, options->path) != 0)
		ok = err_set(err, ERR_TEMP, "4.3.5", "%s", strerror(errno));
	if (!ok) {
		(void)unlink(file);
		(void)err_prefix(err, "create %s", options->path);
	}
	return ok;
}

const struct table_type table_cdb_type = {
    .name = "cdb",
    .open = table_cdb_open,
    .lookup = table_cdb_lookup,
    .write = table_cdb_write,
    .close = table_cdb_close,
    .suffix = ".cdb",
};

#endif
