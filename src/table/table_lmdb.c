/*
 * table_lmdb.c - hash:, btree: and lmdb: tables: an LMDB file beside the source, NAME.lmdb, which postmap puts in the place
 * of the one before in one step (table_build.c). A reader keeps the file it has opened, so it never sees one half written.
 * Also reads files that Postfix's postmap wrote, whose keys and values may end with a NUL.
 */
#include <errno.h>
#include <unistd.h>

#include <lmdb.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "table/table_build.h"
#include "table/table_type.h"

struct table_lmdb {
	MDB_env *env;
	MDB_dbi dbi;
	bool nul; /* keys and values end with one */
};

static void
table_lmdb_close(void *state)
{
	struct table_lmdb *l = state;

	if (l->env != NULL)
		mdb_env_close(l->env);
	mem_free(l);
}

/* Do the keys end with a NUL? The first one tells. */
static int
table_lmdb_detect(struct table_lmdb *l, MDB_txn *txn)
{
	MDB_val key, data;
	MDB_cursor *cursor;
	int error = mdb_cursor_open(txn, l->dbi, &cursor);

	if (error != 0)
		return error;
	error = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);
	if (error == 0)
		l->nul = key.mv_size > 0 && ((const char *)key.mv_data)[key.mv_size - 1] == '\0';
	mdb_cursor_close(cursor);
	return error == MDB_NOTFOUND ? 0 : error;
}

static int
table_lmdb_open_env(struct table_lmdb *l, const char *path)
{
	MDB_txn *txn;
	int error = mdb_env_create(&l->env);

	if (error != 0)
		return error;
	error = mdb_env_open(l->env, path, MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK, 0644);
	if (error != 0)
		return error;
	error = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);
	if (error != 0)
		return error;
	error = mdb_dbi_open(txn, NULL, 0, &l->dbi);
	if (error == 0)
		error = table_lmdb_detect(l, txn);
	if (error != 0) {
		mdb_txn_abort(txn);
		return error;
	}
	/* Committed, so that the handle is there for later transactions. */
	return mdb_txn_commit(txn);
}

/* How long the source of a table may be newer before that is worth a word: it may be postmap's turn just now. */
#define TABLE_SOURCE_PAUSE (100 * CLOCK_SECOND)

bool
table_index_is_old(const struct table *t, int64_t pause)
{
	char *source CLEANUP(mem_free_str) = span_dup(t->argument);
	struct stat from, made;

	return t->path != NULL && stat(source, &from) == 0 && stat(t->path, &made) == 0 &&
	       from.st_mtim.tv_sec > made.st_mtim.tv_sec &&
	       from.st_mtim.tv_sec < (clock_real_us() - pause) / CLOCK_SECOND;
}

static bool
table_lmdb_open(struct table *t, struct err *err)
{
	struct table_lmdb *l;
	struct stat st;
	int error, fd;

	/* LMDB cannot open an empty file, and says so less clearly. */
	if (access(t->path, R_OK) != 0)
		return err_set(
		    err, ERR_TEMP, "4.3.5", "open database %s: %s", t->path, strerror(errno));
	l = mem_new(struct table_lmdb);
	error = table_lmdb_open_env(l, t->path);
	if (error != 0) {
		table_lmdb_close(l);
		return err_set(
		    err, ERR_TEMP, "4.3.5", "open database %s: %s", t->path, mdb_strerror(error));
	}
	if (mdb_env_get_fd(l->env, &fd) == 0 && fstat(fd, &st) == 0)
		t->owner = st.st_uid;
	if (table_index_is_old(t, TABLE_SOURCE_PAUSE))
		log_warn(
		    "database %s is older than source file %.*s", t->path, SPAN_ARG(t->argument));
	t->state = l;
	return true;
}

static bool
table_lmdb_fail(int error, struct err *err)
{
	return err_set(err, ERR_TEMP, "4.3.0", "%s", mdb_strerror(error));
}

/* The bytes without the NUL at the end, if they have one. */
static struct span
table_lmdb_span(MDB_val v)
{
	const char *ptr = v.mv_data;

	return span_of(
	    ptr, v.mv_size != 0 && ptr[v.mv_size - 1] == '\0' ? v.mv_size - 1 : v.mv_size);
}

static enum table_result
table_lmdb_lookup(struct table *t, struct span key, struct buf *value, struct err *err)
{
	struct table_lmdb *l = t->state;
	struct buf room CLEANUP(buf_done) = {0};
	MDB_val mdb_key, data;
	MDB_txn *txn;
	bool ok = true;
	int error;

	/* LMDB takes neither the empty key nor one that is longer than it could have stored. */
	if (key.len == 0 || key.len + l->nul > (size_t)mdb_env_get_maxkeysize(l->env))
		return TABLE_NOT_FOUND;
	buf_add_span(&room, key);
	/* The NUL that follows what is in a buffer counts where the file has one. */
	mdb_key = (MDB_val){.mv_size = room.len + l->nul, .mv_data = room.ptr};
	error = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);
	if (error == 0) {
		error = mdb_get(txn, l->dbi, &mdb_key, &data);
		if (error == 0)
			ok = table_take_stored(t, key, table_lmdb_span(data), value, err);
		mdb_txn_abort(txn);
	}
	if (error == 0)
		return ok ? TABLE_FOUND : TABLE_ERROR;
	if (error == MDB_NOTFOUND)
		return TABLE_NOT_FOUND;
	(void)table_lmdb_fail(error, err);
	return TABLE_ERROR;
}

bool
table_lmdb_each(struct table *t,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err)
{
	struct table_lmdb *l = t->state;
	MDB_cursor *cursor;
	MDB_val key, data;
	MDB_txn *txn;
	bool ok = true;
	int error = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);

	if (error != 0)
		return table_lmdb_fail(error, err);
	error = mdb_cursor_open(txn, l->dbi, &cursor);
	if (error != 0) {
		mdb_txn_abort(txn);
		return table_lmdb_fail(error, err);
	}
	while (ok && (error = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0)
		ok = each(arg, table_lmdb_span(key), table_lmdb_span(data), err);
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	return ok && (error == MDB_NOTFOUND || table_lmdb_fail(error, err));
}

const struct table_type table_lmdb_type = {
    .name = "lmdb",
    .open = table_lmdb_open,
    .lookup = table_lmdb_lookup,
    .each = table_lmdb_each,
    .write = table_build_write,
    .close = table_lmdb_close,
    .suffix = TABLE_INDEX_SUFFIX,
};

/* Berkeley DB's names stand for the same file, see docs/adr. */
const struct table_type table_hash_type = {
    .name = "hash",
    .open = table_lmdb_open,
    .lookup = table_lmdb_lookup,
    .each = table_lmdb_each,
    .write = table_build_write,
    .close = table_lmdb_close,
    .suffix = TABLE_INDEX_SUFFIX,
};

const struct table_type table_btree_type = {
    .name = "btree",
    .open = table_lmdb_open,
    .lookup = table_lmdb_lookup,
    .each = table_lmdb_each,
    .write = table_build_write,
    .close = table_lmdb_close,
    .suffix = TABLE_INDEX_SUFFIX,
};
