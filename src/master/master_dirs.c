/*
 * master_dirs.c - see master_dirs.h. Owner and mode are set through a descriptor that was opened without following links:
 * some parents belong to users that root must not trust.
 */
#include "master/master_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/span.h"
#include "master/master_programs.h"
#include "service/service_database.h"

/* ---- directories -------------------------------------------------------------------------------------------- */

/* The directories above `path`, as root's. */
static void
make_parents(const char *path)
{
	char *copy CLEANUP(mem_free_str) = mem_strdup(path);

	for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(copy, 0755);
		*slash = '/';
	}
}

static bool
make(const char *path, uid_t uid, gid_t gid, unsigned mode, struct err *err)
{
	bool good;
	int fd;

	make_parents(path);
	(void)mkdir(path, 0700);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	good = fd >= 0 && fchown(fd, uid, gid) == 0 && fchmod(fd, mode) == 0;
	if (!good)
		(void)err_set(err, ERR_CONFIG, "", "directory %s: %s", path, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return good;
}

bool
master_dirs_make(const struct conf *c, const char *path, enum service_privilege owner,
    unsigned mode, struct err *err)
{
	uid_t uid;
	gid_t gid;

	return service_privilege_ids(c, owner, &uid, &gid, err) && make(path, uid, gid, mode, err);
}

bool
master_dirs_drop_group(const struct conf *c, gid_t *ret, struct err *err)
{
	const char *name = conf_str(c, CONF_setgid_group);
	struct group gr, *found = NULL;
	char room[16384];

	(void)getgrnam_r(name, &gr, room, sizeof(room), &found);
	if (found == NULL)
		return err_set(err, ERR_CONFIG, "", "setgid_group = %s: no such group", name);
	*ret = gr.gr_gid;
	return true;
}

/* Everybody's processes pass through; what is inside has its own protection. */
static bool
open_passage(const char *path, struct err *err)
{
	struct stat st;

	make_parents(path);
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return err_set(err, ERR_CONFIG, "", "directory %s: %s", path, strerror(errno));
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return err_set(err, ERR_CONFIG, "", "%s is not a directory", path);
	if ((st.st_mode & 0011) != 0011 && chmod(path, (st.st_mode & 07777) | 0011) != 0)
		return err_set(err, ERR_CONFIG, "", "chmod %s: %s", path, strerror(errno));
	return true;
}

bool
master_dirs_prepare(const struct conf *c, struct err *err)
{
	const char *queue = conf_str(c, CONF_queue_directory);
	char *pid CLEANUP(mem_free_str) = mem_printf("%s/pid", queue);
	char *private CLEANUP(mem_free_str) = mem_printf("%s/private", queue);
	char *public CLEANUP(mem_free_str) = mem_printf("%s/public", queue);
	char *maildrop CLEANUP(mem_free_str) = mem_printf("%s/maildrop", queue);
	uid_t mail;
	gid_t mail_group, drop;

	if (!service_privilege_ids(c, SERVICE_FRONT_END, &mail, &mail_group, err) ||
	    !master_dirs_drop_group(c, &drop, err))
		return false;
	return open_passage(queue, err) && open_passage(conf_str(c, CONF_data_directory), err) &&
	       make(pid, 0, 0, 0755, err) && make(private, 0, mail_group, 0710, err) &&
	       make(public, 0, drop, 02710, err) && make(maildrop, mail, drop, 01730, err);
}

bool
master_dirs_set_gid(const struct conf *c, struct err *err)
{
	struct buf path CLEANUP(buf_done) = {0};
	gid_t drop;
	bool good;
	int fd;

	if (!master_programs_dir(c, &path, err) || !master_dirs_drop_group(c, &drop, err))
		return false;
	buf_add_str(&path, "/postdrop");
	fd = open(buf_str(&path), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return true;
	good = fd >= 0 && fchown(fd, 0, drop) == 0 && fchmod(fd, 02755) == 0;
	if (!good)
		(void)err_set(err, ERR_CONFIG, "", "%s: %s", buf_str(&path), strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return good;
}

/* ---- users -------------------------------------------------------------------------------------------------- */

static const enum service_privilege owners[] = {
    SERVICE_FRONT_END, SERVICE_SCHEDULER, SERVICE_AGENT, SERVICE_CONSOLE, SERVICE_DATABASE};

static bool
is_needed(const struct conf *c, enum service_privilege p)
{
	return p != SERVICE_DATABASE || service_database_is_embedded(c);
}

bool
master_dirs_users_exist(const struct conf *c, struct err *err)
{
	struct buf missing CLEANUP(buf_done) = {0};
	uid_t uid;
	gid_t gid;

	for (size_t i = 0; i < ARRAY_LEN(owners); i++)
		if (is_needed(c, owners[i]) &&
		    !service_privilege_ids(c, owners[i], &uid, &gid, err))
			buf_printf(&missing, "%s%s", missing.len > 0 ? "; " : "", err->text);
	if (!master_dirs_drop_group(c, &gid, err))
		buf_printf(&missing, "%s%s", missing.len > 0 ? "; " : "", err->text);
	if (missing.len == 0)
		return true;
	return err_set(err, ERR_CONFIG, "", "%s. To create them: rowpost -c %s set-permissions",
	    buf_str(&missing), conf_dir(c));
}

/* Runs a program that needs nothing from us and waits. */
static bool
run(const char *const argv[], struct err *err)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		(void)execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (pid < 0 || status != 0)
		return err_set(err, ERR_CONFIG, "", "%s %s failed", argv[0], argv[1]);
	return true;
}

bool
master_dirs_make_users(const struct conf *c, struct err *err)
{
	const char *drop = conf_str(c, CONF_setgid_group);
	const char *const groupadd[] = {"/usr/sbin/groupadd", "-r", drop, NULL};
	uid_t uid;
	gid_t gid;

	for (size_t i = 0; i < ARRAY_LEN(owners); i++) {
		const char *user = service_privilege_user(c, owners[i]);
		const char *const useradd[] = {"/usr/sbin/useradd", "-r", "-U", "-M", "-d",
		    "/nonexistent", "-s", "/usr/sbin/nologin", user, NULL};

		if (service_privilege_ids(c, owners[i], &uid, &gid, err))
			continue;
		log_info("creating user %s", user);
		if (!run(useradd, err))
			return err_prefix(err, "%s", service_privilege_parameter(owners[i]));
	}
	if (master_dirs_drop_group(c, &gid, err))
		return true;
	log_info("creating group %s", drop);
	return run(groupadd, err);
}
