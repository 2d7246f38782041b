/*
 * service.c - see service.h. Reload and leaving run as tasks of their own, started by a signal or by the task that
 * listens to master.
 */
#include "service/service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "service/service_control.h"
#include "service/service_log.h"
#include "service/shelf.h"
#include "task/task.h"

/* How long what is in flight may take to finish when master is gone. */
#define ORPHAN_PATIENCE (10 * CLOCK_SECOND)
/* How long cancelled tasks get to say goodbye. */
#define CANCEL_GRACE    (5 * CLOCK_SECOND)

/* The process is one service, so this is its state. */
static struct {
	struct service service;
	struct service_options options;
	struct task *listener; /* hears master */
	struct task_lock turn; /* held by run(), reload() and stopping(): one after the other */
	struct task_timer drain_limit;
} process;

/* ---- before the loop ---------------------------------------------------------------------------------------- */

static bool
load(struct conf **ret, struct err *err)
{
	struct conf_source source = {
	    .dir = process.options.conf_dir,
	    .program = process.service.kind->program,
	    .service = process.options.name,
	    .overrides = process.options.overrides,
	    .override_count = process.options.override_count,
	};

	return conf_load(&source, ret, err);
}

bool
service_conf_with(const char *name, const char *value, struct conf **ret, struct err *err)
{
	size_t count = process.options.override_count;
	struct conf_override *overrides =
	    mem_resize(NULL, count + 1, sizeof(*process.options.overrides));
	struct conf_source source = {
	    .dir = process.options.conf_dir,
	    .program = process.service.kind->program,
	    .service = process.options.name,
	    .overrides = overrides,
	    .override_count = count + 1,
	};
	bool good;

	if (count > 0)
		memcpy(overrides, process.options.overrides, count * sizeof(*overrides));
	overrides[count] = (struct conf_override){.name = name, .value = value};
	good = conf_load(&source, ret, err);
	mem_free(overrides);
	return good;
}

/* Each session is a descriptor or two: take what the kernel gives. */
static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_warn("cannot raise the limit of open files: %s", strerror(errno));
}

static void
take_descriptor(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		log_fatal(EX_USAGE, "descriptor %d, promised by the command line, is not open", fd);
}

static void
take_shelf(struct service *s, int fd)
{
	s->shelf = shelf_open(fd);
	if (s->shelf == NULL)
		log_warn(
		    "no shelf for contents (%s): they are read from the database", strerror(errno));
	(void)close(fd);
}

static void
take_descriptors(struct service *s)
{
	for (size_t i = 0; i < s->listen_count; i++) {
		s->listen_fds[i] = SERVICE_LISTEN_FIRST + (int)i;
		take_descriptor(s->listen_fds[i]);
	}
	if (process.options.control_fd >= 0)
		take_descriptor(process.options.control_fd);
	if (process.options.lock_fd >= 0)
		take_descriptor(process.options.lock_fd);
	if (process.options.shelf_fd >= 0)
		take_shelf(s, process.options.shelf_fd);
}

static void
fill_in(struct service *s, const struct service_kind *kind)
{
	const struct service_options *o = &process.options;

	*s = (struct service){
	    .kind = kind,
	    .name = o->name,
	    .type = o->type,
	    .conf_dir = o->conf_dir,
	    .listen_count = o->listen_count,
	    .slots = o->slots,
	    .instance = o->instance,
	    .instances = o->instances,
	    .args = o->args,
	    .arg_count = o->arg_count,
	};
}

/* An override may be what is wrong: then main.cf alone still says where the log is. */
NO_RETURN static void
refuse(const struct service_log *log, const struct err *err)
{
	struct conf_source source = {.dir = process.options.conf_dir};
	struct conf *plain;
	struct err other;

	if (conf_load(&source, &plain, &other) && !service_log_setup(plain, log, &other))
		log_warn("%s", other.text);
	log_fatal(EX_CONFIG, "%s", err->text);
}

static void
prepare(int argc, char **argv, const struct service_kind *kind)
{
	struct service *s = &process.service;
	struct service_log log = {.program = kind->program};
	struct err err;

	service_control_signals(SIG_BLOCK);
	if (!service_options_parse(argc, argv, &process.options, &err))
		log_fatal(EX_USAGE, "%s: %s", kind->program, err.text);
	fill_in(s, kind);
	if (!load(&s->conf, &err))
		refuse(&log, &err);
	log.verbose = process.options.verbose;
	log.also_stderr = process.options.control_fd < 0;
	if (!service_log_setup(s->conf, &log, &err))
		log_fatal(EX_CONFIG, "%s", err.text);
	(void)umask(077);
	(void)signal(SIGPIPE, SIG_IGN);
	raise_descriptor_limit();
	if (chdir(conf_str(s->conf, CONF_queue_directory)) != 0)
		log_fatal(EX_CONFIG, "queue_directory = %s: %s",
		    conf_str(s->conf, CONF_queue_directory), strerror(errno));
	take_descriptors(s);
	if (kind->init != NULL)
		kind->init(s);
	service_privilege_drop(s->conf, kind->privilege);
}

/* ---- the kind's turns --------------------------------------------------------------------------------------- */

/* Calls one of the kind's functions when those called before have returned, were the task cancelled meanwhile. */
static void
take_turn(void (*fn)(struct service *s))
{
	task_shield(true);
	MUST(task_lock_take(&process.turn, CLOCK_NEVER) == TASK_READY);
	task_shield(false);
	fn(&process.service);
	task_lock_give(&process.turn);
}

/* ---- reload ------------------------------------------------------------------------------------------------- */

static void
reload_now(struct service *s)
{
	struct conf *fresh, *old;
	struct err err;

	if (s->leaving)
		return;
	if (!load(&fresh, &err)) {
		log_warn("reload refused, keeping the old configuration: %s", err.text);
		return;
	}
	old = s->conf;
	s->conf = fresh;
	if (s->kind->reload != NULL)
		s->kind->reload(s);
	conf_unref(&old);
}

static void
reload_run(void *arg UNUSED)
{
	take_turn(reload_now);
}

static void
reload(void)
{
	if (task_start("service-reload", reload_run, NULL) == NULL)
		log_warn("reload refused: too many tasks");
}

/* ---- leaving ------------------------------------------------------------------------------------------------ */

static void
on_drain_limit(void *arg UNUSED)
{
	log_warn("%zu tasks did not finish within drain_time, giving them up", task_count());
	task_stop(CANCEL_GRACE);
}

/* It frees what the others use, so none of its waits is cut short: after drain_time the others are. */
static void
leave_run(void *arg UNUSED)
{
	task_shield(true);
	take_turn(process.service.kind->stopping);
	task_shield(false);
	/* Until now the log could become another. */
	if (process.listener != NULL)
		task_cancel(process.listener);
}

/* Told to leave, or (`orphaned`) left by master: then a new one may be waiting for our places already. */
static void
leave(bool orphaned)
{
	struct service *s = &process.service;
	int64_t patience = conf_time(s->conf, CONF_drain_time);

	if (s->leaving)
		return;
	s->leaving = true;
	if (orphaned)
		patience = MIN(patience, ORPHAN_PATIENCE);
	s->leave_by = clock_deadline(patience);
	process.drain_limit.fn = on_drain_limit;
	task_timer_arm(&process.drain_limit, s->leave_by);
	if (s->kind->stopping == NULL || task_start("service-stop", leave_run, NULL) == NULL)
		task_stop(CANCEL_GRACE);
}

static void
on_signal(int signo, void *arg UNUSED)
{
	if (signo == SIGHUP)
		reload();
	else
		leave(false);
}

/* ---- master's word ------------------------------------------------------------------------------------------ */

static void
obey(enum service_message message, int fd)
{
	switch (message) {
	case SERVICE_RELOAD:
		reload();
		break;
	case SERVICE_NEW_LOG:
		if (fd >= 0) {
			log_reopen(fd);
			fd = -1;
		}
		break;
	case SERVICE_GONE:
		leave(true);
		break;
	case SERVICE_LEAVE:
		leave(false);
		break;
	case SERVICE_READY:
		break;
	}
	if (fd >= 0)
		(void)close(fd);
}

static void
listen_run(void *arg UNUSED)
{
	struct task_fd *watch = task_fd_new(process.options.control_fd);
	enum service_message message = SERVICE_READY;
	int fd;

	(void)service_control_send(process.options.control_fd, SERVICE_READY, -1);
	while (message != SERVICE_GONE) {
		if (service_control_receive(process.options.control_fd, &message, &fd))
			obey(message, fd);
		else if (task_fd_wait_read(watch, CLOCK_NEVER) != TASK_READY)
			break;
	}
	task_fd_free(&watch);
	process.listener = NULL;
}

/* ---- the loop ----------------------------------------------------------------------------------------------- */

static void
main_run(void *arg UNUSED)
{
	take_turn(process.service.kind->run);
}

static void
loop(void)
{
	struct service *s = &process.service;
	struct task_settings settings = {
	    .task_limit = conf_size(s->conf, CONF_task_limit),
	    .stall_report = conf_time(s->conf, CONF_task_stall_warn_time),
	};

	task_init(&settings);
	log_buffered(true);
	task_on_signal(SIGHUP, on_signal, NULL);
	task_on_signal(SIGTERM, on_signal, NULL);
	task_on_signal(SIGINT, on_signal, NULL);
	service_control_signals(SIG_UNBLOCK);
	if (process.options.control_fd >= 0)
		process.listener = task_start("service-control", listen_run, NULL);
	MUST(task_start(s->kind->program, main_run, NULL) != NULL);
	task_run();
	task_timer_disarm(&process.drain_limit);
}

int
service_main(int argc, char **argv, const struct service_kind *kind)
{
	prepare(argc, argv, kind);
	loop();
	log_flush();
	if (task_count() == 0)
		task_done();
	shelf_close(&process.service.shelf);
	conf_unref(&process.service.conf);
	service_options_done(&process.options);
	return EX_OK;
}

int
service_listen_fd(const struct service *s, const char *path)
{
	for (size_t i = 0; i < s->listen_count; i++) {
		struct sockaddr_un sa = {0};
		socklen_t len = sizeof(sa);

		if (getsockname(s->listen_fds[i], (struct sockaddr *)&sa, &len) == 0 &&
		    sa.sun_family == AF_UNIX && strcmp(sa.sun_path, path) == 0)
			return s->listen_fds[i];
	}
	return -1;
}
