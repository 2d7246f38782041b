/*
 * poke.c - see poke.h. Connecting to a UNIX socket is done at once or fails, so there is no task behind this.
 */
#include "service/poke.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define POKE_RETRY CLOCK_SECOND

void
poke_init_at(struct poke *p, const char *queue_directory, const char *socket_name)
{
	*p = (struct poke){.fd = -1};
	if (snprintf(p->path, sizeof(p->path), "%s/%s", queue_directory, socket_name) >=
	    (int)sizeof(p->path))
		p->path[0] = '\0'; /* too long for a socket: the service polls */
}

void
poke_init(struct poke *p, const char *queue_directory)
{
	poke_init_at(p, queue_directory, "public/qmgr");
}

void
poke_done(struct poke *p)
{
	if (p->fd >= 0)
		(void)close(p->fd);
	p->fd = -1;
}

static void
poke_connect(struct poke *p)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	p->retry = clock_deadline(POKE_RETRY);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0)
		return;
	memcpy(to.sun_path, p->path, sizeof(to.sun_path));
	if (connect(p->fd, (const struct sockaddr *)(const void *)&to, sizeof(to)) != 0)
		poke_done(p);
}

static void
poke_send_byte(struct poke *p, char byte)
{
	if (p->fd < 0 && (p->path[0] == '\0' || clock_mono_us() < p->retry))
		return;
	if (p->fd < 0)
		poke_connect(p);
	/* A full socket means that the scheduler has pokes enough. */
	if (p->fd >= 0 && send(p->fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
		poke_done(p);
}

void
poke_send(void *poke)
{
	poke_send_byte(poke, '!');
}

void
poke_send_order(struct poke *p)
{
	poke_send_byte(p, POKE_ORDER);
}
