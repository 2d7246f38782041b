/*
 * table_command_write.c - building and changing indexed tables for postmap and postalias: see table_command.h. A table is
 * written as the owner of its source, who may not be the one to own what root may write.
 */
#include "operator/table_command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend_types.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf/main_cf.h"
#include "operator/table_alias.h"
#include "operator/table_command_cluster.h"
#include "table/table_build.h"
#include "table/table_type.h"

/* One table being written. */
struct table_target {
	const struct table_command *command;
	const struct table_type *type;
	char *source; /* owned: the name behind the type */
	char *path;   /* owned: the indexed file */
	struct table_build *build;
};

static bool
table_target_open(
    const struct table_command *c, const char *spec, struct table_target *ret, struct err *err)
{
	struct span text = span_str(spec);
	size_t colon = span_find(text, ':');
	struct span type = colon < text.len
			       ? span_head(text, colon)
			       : span_str(conf_str(c->conf, CONF_default_database_type));

	*ret = (struct table_target){.command = c, .type = table_type_find(type)};
	if (ret->type == NULL)
		return err_set(
		    err, ERR_CONFIG, "", "unsupported dictionary type: %.*s", SPAN_ARG(type));
	ret->source = span_dup(colon < text.len ? span_from(text, colon + 1) : text);
	ret->path =
	    mem_printf("%s%s", ret->source, ret->type->suffix != NULL ? ret->type->suffix : "");
	ret->build = table_build_new();
	return true;
}

static void
table_target_done(struct table_target *target)
{
	table_build_free(&target->build);
	mem_free(target->source);
	mem_free(target->path);
}

/* Can single entries be changed? */
static bool
table_target_is_indexed(const struct table_target *target)
{
	return target->type->each == table_lmdb_each;
}

static bool
table_target_no_bulk(const struct table_target *target, struct err *err)
{
	return err_set(err, ERR_CONFIG, "",
	    "unsupported dictionary type: %s does not support bulk-mode creation.",
	    target->type->name);
}

/* Keys are folded as text when that is what they are, byte by byte otherwise. */
static bool
table_target_is_utf8(const struct table_target *target)
{
	return conf_bool(target->command->conf, CONF_smtputf8_enable) && !target->command->bytes;
}

/* ---- entries ------------------------------------------------------------------------------------------------------ */

static void
table_target_put(struct table_target *target, struct span key, struct span value)
{
	const struct table_command *c = target->command;
	struct buf folded CLEANUP(buf_done) = {0};

	if (!c->exact_case) {
		table_fold(&folded, key, table_target_is_utf8(target) && utf8_is_valid(key));
		key = buf_span(&folded);
	}
	if (table_build_add(target->build, key, value, c->replace) || c->silent)
		return;
	/* Postfix names the table for this type, the file for the others. */
	if (target->type == &table_lmdb_type || target->type == &table_cluster_type)
		log_warn("%s:%s: duplicate entry: \"%.*s\"", target->type->name, target->source,
		    SPAN_ARG(key));
	else
		log_warn("%s: duplicate entry: \"%.*s\"",
		    table_target_is_indexed(target) ? target->path : target->source, SPAN_ARG(key));
}

static void
table_target_map_line(struct table_target *target, struct span line, const char *file, int number)
{
	struct buf files CLEANUP(buf_done) = {0};
	struct buf text CLEANUP(buf_done) = {0};
	struct span key, value;
	struct err problem;

	if (!table_split_line(line, &key, &value)) {
		log_warn("%s, line %d: unbalanced '\"' in '%.*s' -- ignoring this line", file,
		    number, SPAN_ARG(line));
		return;
	}
	if (key.len == 0 || value.len == 0) {
		log_warn("%s, line %d: expected format: key whitespace value", file, number);
		return;
	}
	if (key.ptr[key.len - 1] == ':')
		log_warn("%s, line %d: record is in \"key: value\" format; is this an alias file?",
		    file, number);
	if (target->command->file_values) {
		if (!table_add_files(&files, value, &problem)) {
			log_warn(
			    "%s, line %d: %s: skipping this entry", file, number, problem.text);
			return;
		}
		table_base64_encode(&text, buf_span(&files));
		value = buf_span(&text);
	}
	table_target_put(target, key, value);
}

static void
table_target_alias_line(struct table_target *target, struct span line, const char *file, int number)
{
	struct buf name CLEANUP(buf_done) = {0};
	struct buf value CLEANUP(buf_done) = {0};

	switch (table_alias_parse(line, &name, &value)) {
	case TABLE_ALIAS_NO_PAIR:
		log_warn("%s, line %d: need name:value pair", file, number);
		return;
	case TABLE_ALIAS_NOT_LOCAL:
		log_warn("%s, line %d: name must be local", file, number);
		return;
	case TABLE_ALIAS_OK:
		break;
	}
	table_target_put(target, buf_span(&name), buf_span(&value));
}

/* The lines of a source. */
static void
table_target_read(struct table_target *target, struct span text, const char *file)
{
	bool utf8 = table_target_is_utf8(target);
	struct buf line CLEANUP(buf_done) = {0};
	int read = 0, number;

	while (table_source_line(file, &text, &read, &line, &number)) {
		struct span trimmed = span_trim(buf_span(&line));

		if (utf8 && !utf8_is_valid(trimmed)) {
			struct buf clean CLEANUP(buf_done) = {0};

			utf8_add_clean(&clean, trimmed, 1000);
			log_warn("%s, line %d: non-UTF-8 input \"%s\" -- ignoring this line", file,
			    number, buf_str(&clean));
		} else if (target->command->aliases) {
			table_target_alias_line(target, trimmed, file, number);
		} else {
			table_target_map_line(target, trimmed, file, number);
		}
	}
}

/* What Sendmail and NIS look for in an alias table. */
static void
table_target_add_alias_marks(struct table_target *target)
{
	char when[32];
	struct span host = span_str(conf_str(target->command->conf, CONF_myhostname));

	(void)table_build_add(target->build, SPAN_LIT("@"), SPAN_LIT("@"), true);
	clock_format_utc(clock_real_us() / CLOCK_SECOND, "%s", when, sizeof(when));
	(void)table_build_add(target->build, SPAN_LIT("YP_LAST_MODIFIED"), span_str(when), true);
	(void)table_build_add(target->build, SPAN_LIT("YP_MASTER_NAME"), host, true);
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

static bool
table_target_write(const struct table_target *target, mode_t mode, struct err *err)
{
	struct table_build_options options = {
	    .path = target->path,
	    .mode = mode,
	    .nul = target->command->nul,
	};

	return target->type->write(target->build, &options, err);
}

/* Root writes as the owner of the source; back to root with uid 0. */
static bool
table_target_become(uid_t uid, gid_t gid, struct err *err)
{
	if (geteuid() != 0 && seteuid(0) != 0)
		return err_set(err, ERR_TEMP, "", "seteuid: %s", strerror(errno));
	if (setegid(gid) != 0 || seteuid(uid) != 0)
		return err_set(err, ERR_TEMP, "", "seteuid %ld: %s", (long)uid, strerror(errno));
	return true;
}

/* The source's rights to read, and the owner's to write. */
static mode_t
table_target_mode(const struct table_command *c, const struct stat *st)
{
	return c->standard_mode ? 0644 : (st->st_mode & 0644) | 0600;
}

static bool
table_target_build(struct table_target *target, struct err *err)
{
	const struct table_command *c = target->command;
	struct buf text CLEANUP(buf_done) = {0};
	struct stat st;
	bool drop, ok;

	if (!table_read_file(target->source, "open", &text, NULL, err))
		return false;
	if (stat(target->source, &st) != 0)
		return err_set(err, ERR_TEMP, "", "open %s: %s", target->source, strerror(errno));
	if (target->type == &table_fail_type)
		return err_set(err, ERR_TEMP, "", "table fail:%s: write error: Application error",
		    target->source);
	if (target->type->write == NULL)
		return table_target_no_bulk(target, err);
	table_target_read(target, buf_span(&text), target->source);
	if (c->aliases)
		table_target_add_alias_marks(target);
	drop = getuid() == 0 && st.st_uid != 0 && !c->keep_rights;
	if (drop && !table_target_become(st.st_uid, st.st_gid, err))
		return false;
	ok = table_target_write(target, table_target_mode(c, &st), err);
	if (drop && !table_target_become(0, 0, err))
		return false;
	return ok;
}

/* The table of the cluster gets what is on standard input, or is added to it with `add`. */
static bool
table_target_cluster(struct table_target *target, struct span input, bool add, struct err *err)
{
	table_target_read(target, input, "stdin");
	if (target->command->aliases)
		table_target_add_alias_marks(target);
	return add ? table_command_cluster_add(target->command, target->source, target->build, err)
		   : table_command_cluster_build(
			 target->command, target->source, target->build, err);
}

static bool
table_target_cluster_build(struct table_target *target, struct err *err)
{
	struct buf input CLEANUP(buf_done) = {0};

	return table_read_input(&input, err) &&
	       table_target_cluster(target, buf_span(&input), false, err);
}

bool
table_command_build(const struct table_command *c, struct err *err)
{
	for (size_t i = 0; i < c->count; i++) {
		struct table_target target;
		bool ok;

		if (!table_target_open(c, c->tables[i], &target, err))
			return false;
		ok = target.type == &table_cluster_type ? table_target_cluster_build(&target, err)
							: table_target_build(&target, err);
		table_target_done(&target);
		if (!ok)
			return false;
	}
	return true;
}

/* Takes over what the table holds, as its owner; `create`: it need not be there. */
static bool
table_target_load(struct table_target *target, bool create, mode_t *ret_mode, struct err *err)
{
	struct stat st;

	if (target->type == &table_fail_type)
		return err_set(err, ERR_TEMP, "", "table fail:%s: delete error: Application error",
		    target->source);
	if (!table_target_is_indexed(target) && target->type->write != NULL)
		return err_set(err, ERR_CONFIG, "",
		    "%s:%s is only written as a whole: its entries cannot be changed",
		    target->type->name, target->source);
	if (!table_target_is_indexed(target) && create)
		return table_target_no_bulk(target, err);
	if (!table_target_is_indexed(target))
		return err_set(err, ERR_CONFIG, "", "%s:%s map requires O_RDONLY access mode",
		    target->type->name, target->source);
	*ret_mode = 0644;
	if (stat(target->path, &st) == 0) {
		*ret_mode = st.st_mode & 0777;
		if (getuid() == 0 && st.st_uid != 0 && !target->command->keep_rights &&
		    !table_target_become(st.st_uid, st.st_gid, err))
			return false;
	}
	return table_build_load(target->build, target->path, create, err);
}

static bool
table_target_add(struct table_target *target, struct span input, struct err *err)
{
	mode_t mode;

	if (target->type == &table_cluster_type)
		return table_target_cluster(target, input, true, err);
	if (!table_target_load(target, true, &mode, err))
		return false;
	table_target_read(target, input, "stdin");
	if (target->command->aliases)
		table_target_add_alias_marks(target);
	return table_target_write(target, mode, err);
}

bool
table_command_add(const struct table_command *c, struct err *err)
{
	struct buf input CLEANUP(buf_done) = {0};

	if (!table_read_input(&input, err))
		return false;
	for (size_t i = 0; i < c->count; i++) {
		struct table_target target;
		bool ok;

		if (!table_target_open(c, c->tables[i], &target, err))
			return false;
		ok = table_target_add(&target, buf_span(&input), err);
		table_target_done(&target);
		if (!ok || (geteuid() != getuid() && !table_target_become(getuid(), getgid(), err)))
			return false;
	}
	return true;
}

/* ---- -d ----------------------------------------------------------------------------------------------------------- */

static bool
table_target_remove(struct table_target *target, struct span key)
{
	const struct table_command *c = target->command;
	struct buf folded CLEANUP(buf_done) = {0};

	if (c->exact_case)
		return table_build_remove(target->build, key);
	table_fold(&folded, key, table_target_is_utf8(target) && utf8_is_valid(key));
	return table_build_remove(target->build, buf_span(&folded));
}

static bool
table_target_delete(struct table_target *target, struct span keys, bool *ret_found, struct err *err)
{
	bool found = false;
	mode_t mode;

	if (target->type == &table_cluster_type)
		return table_command_cluster_remove(
		    target->command, target->source, keys, ret_found, err);
	if (!table_target_load(target, false, &mode, err))
		return false;
	while (keys.len != 0) {
		size_t n = span_find(keys, '\n');

		found = table_target_remove(target, span_head(keys, n)) || found;
		keys = span_from(keys, n + 1);
	}
	*ret_found = *ret_found || found;
	return !found || table_target_write(target, mode, err);
}

bool
table_command_delete(
    const struct table_command *c, const char *key, bool *ret_found, struct err *err)
{
	struct buf keys CLEANUP(buf_done) = {0};

	*ret_found = false;
	if (key == NULL && !table_read_input(&keys, err))
		return false;
	if (key != NULL)
		buf_add_str(&keys, key);
	for (size_t i = 0; i < c->count; i++) {
		struct table_target target;
		bool ok;

		if (!table_target_open(c, c->tables[i], &target, err))
			return false;
		ok = table_target_delete(&target, buf_span(&keys), ret_found, err);
		table_target_done(&target);
		if (!ok || (geteuid() != getuid() && !table_target_become(getuid(), getgid(), err)))
			return false;
	}
	return true;
}
