/*
 * table_build.c - see table_build.h.
 */
#include "table/table_build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "table/table_type.h"

struct table_entry {
	struct span key;   /* owned */
	struct span value; /* owned */
};

struct table_build {
	struct hmap entries; /* by key */
	size_t bytes;        /* of all keys and values */
	int lock;            /* descriptor of the locked table; -1: none */
};

struct table_build *
table_build_new(void)
{
	struct table_build *b = mem_new(struct table_build);

	b->lock = -1;
	return b;
}

static struct span
table_entry_copy(struct span s)
{
	return span_of(mem_dup(s.ptr, s.len), s.len);
}

static void
table_entry_free(struct table_entry *e)
{
	char *key = (char *)(uintptr_t)e->key.ptr;
	char *value = (char *)(uintptr_t)e->value.ptr;

	mem_free(key);
	mem_free(value);
	mem_free(e);
}

void
table_build_free(struct table_build **build)
{
	struct table_build *b = *build;
	struct hmap_cursor at = {0};
	struct span key;
	void *entry;

	if (b == NULL)
		return;
	while (hmap_next(&b->entries, &at, &key, &entry))
		table_entry_free(entry);
	hmap_done(&b->entries);
	if (b->lock >= 0)
		(void)close(b->lock);
	mem_free(b);
	*build = NULL;
}

bool
table_build_add(struct table_build *b, struct span key, struct span value, bool replace)
{
	struct table_entry *entry;
	struct table_entry *before = hmap_get(&b->entries, key);

	if (before != NULL && !replace)
		return false;
	entry = mem_new(struct table_entry);
	entry->key = table_entry_copy(key);
	entry->value = table_entry_copy(value);
	(void)hmap_put(&b->entries, key, entry);
	if (before != NULL)
		table_entry_free(before);
	b->bytes += key.len + value.len;
	return true;
}

bool
table_build_remove(struct table_build *b, struct span key)
{
	struct table_entry *entry = hmap_remove(&b->entries, key);

	if (entry == NULL)
		return false;
	table_entry_free(entry);
	return true;
}

bool
table_build_each(const struct table_build *b,
    bool (*each)(void *arg, struct span key, struct span value, struct err *err), void *arg,
    struct err *err)
{
	struct hmap_cursor at = {0};
	struct span key;
	void *entry;

	while (hmap_next(&b->entries, &at, &key, &entry)) {
		const struct table_entry *e = entry;

		if (!each(arg, e->key, e->value, err))
			return false;
	}
	return true;
}

/* ---- the table as it is ------------------------------------------------------------------------------------------- */

/* Locks the file that bears the name now: the one that was opened may have been replaced meanwhile. */
static int
table_build_lock(const char *path)
{
	for (;;) {
		struct stat opened, named;
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX) != 0 || fstat(fd, &opened) != 0) {
			(void)close(fd);
			return -1;
		}
		if (stat(path, &named) == 0 && named.st_ino == opened.st_ino &&
		    named.st_dev == opened.st_dev)
			return fd;
		(void)close(fd);
	}
}

static bool
table_build_take(void *arg, struct span key, struct span value, struct err *err UNUSED)
{
	(void)table_build_add(arg, key, value, true);
	return true;
}

bool
table_build_load(struct table_build *b, const char *path, bool create, struct err *err)
{
	size_t stem = strlen(path) - strlen(TABLE_INDEX_SUFFIX);
	char *spec CLEANUP(mem_free_str) = mem_printf("lmdb:%.*s", (int)stem, path);
	struct conf *conf;
	struct table *t;
	bool ok;

	b->lock = table_build_lock(path);
	if (b->lock < 0 && errno == ENOENT && create)
		return true;
	if (b->lock < 0)
		return err_set(
		    err, ERR_TEMP, "4.3.5", "open database %s: %s", path, strerror(errno));
	conf = conf_from_text("");
	t = table_open(conf, span_str(spec), TABLE_EXACT_CASE | TABLE_BYTES);
	if (table_trouble(t) != NULL)
		ok = err_set(err, ERR_TEMP, "4.3.5", "%s", table_trouble(t));
	else
		ok = table_lmdb_each(t, table_build_take, b, err);
	table_close(&t);
	conf_unref(&conf);
	return ok;
}

/* ---- the new file ------------------------------------------------------------------------------------------------- */

static int
table_entry_compare(const void *a, const void *b)
{
	const struct table_entry *x = *(const struct table_entry *const *)a;
	const struct table_entry *y = *(const struct table_entry *const *)b;
	int order = memcmp(x->key.ptr, y->key.ptr, MIN(x->key.len, y->key.len));

	return order != 0 ? order : (x->key.len > y->key.len) - (x->key.len < y->key.len);
}

/* The entries in the order of keys: LMDB then fills its pages well. */
static struct table_entry **
table_build_sorted(const struct table_build *b)
{
	struct table_entry **sorted = mem_resize(NULL, b->entries.count + 1, sizeof(*sorted));
	struct hmap_cursor at = {0};
	struct span key;
	void *entry;
	size_t n = 0;

	while (hmap_next(&b->entries, &at, &key, &entry))
		sorted[n++] = entry;
	qsort(sorted, n, sizeof(struct table_entry *), table_entry_compare);
	return sorted;
}

/* Generous: address space only, the file grows as it is filled. Each entry may start a page of its own. */
static size_t
table_build_room(const struct table_build *b)
{
	return ((size_t)16 << 20) + 3 * b->bytes + 2 * 4096 * b->entries.count;
}

static int
table_build_put(MDB_txn *txn, MDB_dbi dbi, const struct table_entry *e, bool nul)
{
	/* Copies end with a NUL that mem_dup() has put there. */
	MDB_val key = {.mv_size = e->key.len + nul, .mv_data = (char *)(uintptr_t)e->key.ptr};
	MDB_val value = {.mv_size = e->value.len + nul, .mv_data = (char *)(uintptr_t)e->value.ptr};

	return mdb_put(txn, dbi, &key, &value, 0);
}

static int
table_build_fill(struct table_build *b, MDB_env *env, bool nul, const struct table_entry **ret_bad)
{
	struct table_entry **sorted;
	MDB_txn *txn;
	MDB_dbi dbi;
	int error = mdb_txn_begin(env, NULL, 0, &txn);

	if (error != 0)
		return error;
	error = mdb_dbi_open(txn, NULL, 0, &dbi);
	sorted = table_build_sorted(b);
	for (size_t i = 0; error == 0 && i < b->entries.count; i++) {
		*ret_bad = sorted[i];
		error = table_build_put(txn, dbi, sorted[i], nul);
	}
	mem_free(sorted);
	if (error != 0) {
		mdb_txn_abort(txn);
		return error;
	}
	*ret_bad = NULL;
	error = mdb_txn_commit(txn);
	return error == 0 ? mdb_env_sync(env, 1) : error;
}

static int
table_build_create(struct table_build *b, const struct table_build_options *options,
    const char *file, const struct table_entry **ret_bad)
{
	MDB_env *env;
	int error = mdb_env_create(&env);

	if (error != 0)
		return error;
	error = mdb_env_set_mapsize(env, table_build_room(b));
	if (error == 0)
		error =
		    mdb_env_open(env, file, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, options->mode);
	if (error == 0)
		error = table_build_fill(b, env, options->nul, ret_bad);
	mdb_env_close(env);
	/* The mode asked for, whatever the umask. */
	return error == 0 && chmod(file, options->mode) != 0 ? errno : error;
}

bool
table_build_write(struct table_build *b, const struct table_build_options *options, struct err *err)
{
	char *file CLEANUP(mem_free_str) = mem_printf("%s.%ld", options->path, (long)getpid());
	const struct table_entry *bad = NULL;
	int error;

	(void)unlink(file);
	error = table_build_create(b, options, file, &bad);
	if (error == 0 && rename(file, options->path) != 0)
		error = errno;
	if (error == 0)
		return true;
	(void)unlink(file);
	if (error == MDB_BAD_VALSIZE && bad != NULL)
		return err_set(err, ERR_PERM, "5.3.5", "%s: key is too long: \"%.*s...\"",
		    options->path, SPAN_ARG(span_head(bad->key, 60)));
	return err_set(err, ERR_TEMP, "4.3.5", "create %s: %s", options->path, mdb_strerror(error));
}
