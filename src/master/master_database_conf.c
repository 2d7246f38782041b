/*
 * master_database_conf.c - see master_database_conf.h. The values come from measurements of the queue's load: batches of
 * small inserts, TRUNCATE instead of DELETE, few connections.
 */
#include "master/master_database_conf.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include "base/span.h"
#include "service/service_database.h"

#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

/* ---- the machine -------------------------------------------------------------------------------------------- */

/* The memory limit of our control group; 0: none that can be read. */
static uint64_t
group_limit(void)
{
	FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
	char text[32] = "";
	uint64_t limit = 0;

	if (f == NULL)
		return 0;
	if (fgets(text, sizeof(text), f) == NULL ||
	    !span_number(span_trim(span_str(text)), UINT64_MAX, &limit))
		limit = 0;
	(void)fclose(f);
	return limit;
}

void
master_database_conf_machine(const char *dir, struct master_database_machine *ret)
{
	struct sysinfo info;
	struct statvfs fs;
	uint64_t limit = group_limit();

	ret->memory = GB;
	ret->disk = 10 * GB;
	if (sysinfo(&info) == 0)
		ret->memory = (uint64_t)info.totalram * info.mem_unit;
	if (limit != 0)
		ret->memory = MIN(ret->memory, limit);
	if (statvfs(dir, &fs) == 0)
		ret->disk = (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* ---- settings ----------------------------------------------------------------------------------------------- */

static uint64_t
between(uint64_t value, uint64_t lo, uint64_t hi)
{
	return value < lo ? lo : value > hi ? hi : value;
}

/* A string of postgresql.conf: ' doubled. */
static void
add_quoted(struct buf *out, const char *text)
{
	buf_add_char(out, '\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			buf_add_char(out, '\'');
		buf_add_char(out, *text);
	}
	buf_add_char(out, '\'');
}

static void
add_size(struct buf *out, const char *name, uint64_t bytes)
{
	buf_printf(out, "%s = %lluMB\n", name, (unsigned long long)(bytes / MB));
}

static void
add_reach(const struct conf *c, struct buf *out)
{
	struct buf dir CLEANUP(buf_done) = {0};

	service_database_socket_dir(c, &dir);
	buf_add_str(out, "listen_addresses = ''\nunix_socket_directories = ");
	add_quoted(out, buf_str(&dir));
	buf_printf(out, "\nport = %d\n", SERVICE_DATABASE_PORT);
}

static const char fixed_settings[] = "fsync = on\n"
				     "full_page_writes = on\n"
				     "synchronous_commit = on\n"
				     "wal_compression = lz4\n"
				     "default_toast_compression = lz4\n"
				     "wal_buffers = 32MB\n"
				     "checkpoint_timeout = 15min\n"
				     "checkpoint_completion_target = 0.9\n"
				     "autovacuum_naptime = 10s\n"
				     "autovacuum_vacuum_cost_delay = 0\n"
				     "jit = off\n"
				     "max_connections = 500\n"
				     "logging_collector = on\n"
				     "log_directory = 'log'\n"
				     "log_filename = 'postgresql-%a.log'\n"
				     "log_truncate_on_rotation = on\n"
				     "log_rotation_age = 1d\n"
				     "log_rotation_size = 0\n"
				     "log_checkpoints = on\n"
				     "log_line_prefix = '%m [%p] %q%u@%d %a '\n";

/* "a = b; c = d", one a line. */
static void
add_own(struct span rest, struct buf *out)
{
	struct span setting;

	while (span_word(&rest, ";", &setting))
		buf_printf(out, "%.*s\n", SPAN_ARG(span_trim(setting)));
}

void
master_database_conf_settings(
    const struct conf *c, const struct master_database_machine *machine, struct buf *out)
{
	buf_add_str(out, "# Written by Rowpost at each start. Use database_settings in main.cf, or "
			 "ALTER SYSTEM.\n");
	add_reach(c, out);
	buf_add_str(out, fixed_settings);
	add_size(out, "shared_buffers", between(machine->memory / 4, 16 * MB, GB));
	add_size(out, "effective_cache_size", MAX(machine->memory / 2, 64 * MB));
	add_size(out, "max_wal_size", between(machine->disk / 8, 256 * MB, 8 * GB));
	add_size(out, "min_wal_size", between(machine->disk / 64, 80 * MB, 512 * MB));
	add_own(span_str(conf_str(c, CONF_database_settings)), out);
}

/* ---- access ------------------------------------------------------------------------------------------------- */

/* A name in pg_hba.conf: quoted, so that it means no keyword; " doubled. */
static void
add_name(struct buf *out, const char *name)
{
	buf_add_char(out, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"')
			buf_add_char(out, '"');
		buf_add_char(out, *name);
	}
	buf_add_char(out, '"');
}

void
master_database_conf_access(const struct conf *c, struct buf *out)
{
	static const enum service_privilege users[] = {
	    SERVICE_FRONT_END, SERVICE_SCHEDULER, SERVICE_CONSOLE};

	buf_add_str(out, "# Written by Rowpost at each start: every user by its system name. The "
			 "delivery agents are not among them.\n"
			 "local all \"root\" peer\n");
	for (size_t i = 0; i < ARRAY_LEN(users); i++) {
		buf_printf(out, "local \"%s\" ", SERVICE_DATABASE_NAME);
		add_name(out, service_privilege_user(c, users[i]));
		buf_add_str(out, " peer\n");
	}
	buf_printf(out,
	    "# People: CREATE ROLE name LOGIN; GRANT rowpost_operator TO name; or rowpost_monitor, who only looks\n"
	    "local \"%s\" +rowpost_operator,+rowpost_monitor peer\n"
	    "local all all reject\n",
	    SERVICE_DATABASE_NAME);
}
