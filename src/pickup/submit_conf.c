/*
 * submit_conf.c - see submit_conf.h.
 */
#include "pickup/submit_conf.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "service/service_log.h"
#include "table/table.h"

#define SAFE_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static bool
has_extra_rights(void)
{
	return getuid() != 0 && (geteuid() != getuid() || getegid() != getgid());
}

static struct conf *
load(const char *program, const char *dir, int failure)
{
	struct conf_source source = {.dir = dir, .program = program};
	struct conf *conf;
	struct err err;

	if (!conf_load(&source, &conf, &err))
		log_fatal(failure, "%s", err.text);
	return conf;
}

/* A user must not choose where we write with rights that are not the user's. */
static void
check_dir(const char *program, const char *dir, int failure)
{
	struct conf *standard;

	if (!has_extra_rights() || strcmp(dir, SUBMIT_CONF_DIR) == 0)
		return;
	standard = load(program, SUBMIT_CONF_DIR, failure);
	if (!conf_has(standard, CONF_alternate_config_directories, dir))
		log_fatal(failure, "unauthorized configuration directory name: %s", dir);
	conf_unref(&standard);
}

/* Only what import_environment names survives in a program with a user's environment and other rights. */
static void
clean_environment(const struct conf *conf)
{
	struct span rest = span_str(conf_str(conf, CONF_import_environment));
	struct span item;
	char *kept[64];
	size_t count = 0;

	if (!has_extra_rights())
		return;
	while (count < ARRAY_LEN(kept) && span_word(&rest, ", \t\r\n", &item)) {
		char *name = span_dup(item);
		const char *value = getenv(name);

		if (strchr(name, '=') != NULL)
			kept[count++] = mem_strdup(name);
		else if (value != NULL)
			kept[count++] = mem_printf("%s=%s", name, value);
		mem_free(name);
	}
	(void)clearenv();
	(void)setenv("PATH", SAFE_PATH, 1);
	for (size_t i = 0; i < count; i++) {
		char *equals = strchr(kept[i], '=');

		*equals = '\0';
		(void)setenv(kept[i], equals + 1, 1);
		mem_free(kept[i]);
	}
}

struct conf *
submit_conf_start(const char *program, const char *dir, int verbose, int failure)
{
	struct service_log log = {.program = program, .also_stderr = true, .verbose = verbose};
	char absolute[PATH_MAX];
	struct conf *conf;
	struct err err;

	log.stderr_tag = program;
	if (dir == NULL)
		dir = getenv("MAIL_CONFIG");
	if (dir == NULL)
		dir = SUBMIT_CONF_DIR;
	check_dir(program, dir, failure);
	if (realpath(dir, absolute) != NULL)
		dir = absolute;
	conf = load(program, dir, failure);
	clean_environment(conf);
	/* Who may not write to the log still reads the trouble on the terminal. */
	if (!service_log_setup(conf, &log, &err))
		log_debug("%s", err.text);
	if (chdir(conf_str(conf, CONF_queue_directory)) != 0)
		log_fatal(
		    failure, "chdir %s: %s", conf_str(conf, CONF_queue_directory), strerror(errno));
	return conf;
}

static bool
table_has(struct conf *conf, struct span spec, struct span name, bool *ret, struct err *err)
{
	struct table *t = table_open(conf, spec, 0);
	struct buf value CLEANUP(buf_done) = {0};
	enum table_result found = table_lookup(t, name, TABLE_KEY_FULL, &value, err);

	table_close(&t);
	*ret = found == TABLE_FOUND;
	return found != TABLE_ERROR;
}

/* Does one item of the list, without its '!', mean `name`? */
static bool
item_matches(struct conf *conf, struct span item, struct span name, bool *ret, struct err *err)
{
	if (item.len != 0 && item.ptr[0] == '/') {
		char *file CLEANUP(mem_free_str) = span_dup(item);
		FILE *f = fopen(file, "re");
		char line[256];

		*ret = false;
		if (f == NULL)
			return err_set(err, ERR_CONFIG, "", "open %s: %s", file, strerror(errno));
		while (!*ret && fgets(line, sizeof(line), f) != NULL)
			*ret = span_equal(span_trim(span_str(line)), name);
		(void)fclose(f);
		return true;
	}
	if (span_find(item, ':') < item.len)
		return table_has(conf, item, name, ret, err);
	*ret = span_equal(item, name);
	return true;
}

bool
submit_conf_allows(
    struct conf *conf, unsigned uid, struct buf *ret_name, bool *ret, struct err *err)
{
	struct passwd pw, *found = NULL;
	char room[16384];
	struct span rest = span_str(conf_str(conf, CONF_authorized_submit_users));
	struct span item;

	(void)getpwuid_r(uid, &pw, room, sizeof(room), &found);
	buf_add_str(ret_name, found != NULL ? found->pw_name : "unknown");
	*ret = false;
	while (span_word(&rest, ", \t\r\n", &item)) {
		bool not = item.ptr[0] == '!';
		bool matches;

		if (!item_matches(
			conf, span_from(item, not ? 1 : 0), buf_span(ret_name), &matches, err))
			return false;
		if (matches) {
			*ret = !not ;
			return true;
		}
	}
	return true;
}

bool
submit_conf_program(const char *name, struct buf *ret, struct err *err)
{
	char exe[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe));
	struct span self = span_of(exe, len > 0 ? (size_t)len : 0);

	if (len <= 0 || (size_t)len == sizeof(exe))
		return err_set(err, ERR_CONFIG, "", "/proc/self/exe: %s", strerror(errno));
	buf_add_span(ret, span_head(self, span_find_last(self, '/')));
	buf_printf(ret, "/%s", name);
	return true;
}

/* Is `sender` meant by one pattern of local_login_sender_maps: an address, @domain, *, or <>? */
static bool
pattern_allows(struct span pattern, struct span sender)
{
	size_t at = span_find_last(sender, '@');

	if (span_equal_str(pattern, "*"))
		return true;
	if (sender.len == 0)
		return span_equal_str(pattern, "<>");
	if (pattern.len != 0 && pattern.ptr[0] == '@')
		return span_equal_nocase(span_from(sender, at), pattern);
	return span_equal_nocase(sender, pattern);
}

bool
submit_conf_allows_sender(struct conf *conf, unsigned uid, const char *login, struct span sender,
    bool *ret, struct err *err)
{
	struct table_list *maps;
	struct buf value CLEANUP(buf_done) = {0};
	char *by_uid CLEANUP(mem_free_str) = mem_printf("uid:%u", uid);
	const char *key = strcmp(login, "unknown") != 0 ? login : by_uid;
	enum table_result found;
	struct span rest, pattern;

	*ret = conf_is(conf, CONF_local_login_sender_maps, "static:*");
	if (*ret)
		return true;
	maps = table_list_of(conf, CONF_local_login_sender_maps, 0);
	found = table_list_lookup(maps, span_str(key), TABLE_KEY_FULL, &value, err);
	table_list_close(&maps);
	rest = buf_span(&value);
	while (found == TABLE_FOUND && !*ret && span_word(&rest, ", \t\r\n", &pattern))
		*ret = pattern_allows(pattern, sender);
	return found != TABLE_ERROR;
}
