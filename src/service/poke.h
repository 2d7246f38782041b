/*
 * poke.h - a front end tells the scheduler of its node that new mail was stored, so that an idle scheduler need not poll
 * often. Only a hint: nothing depends on its arrival. Never waits.
 */
#ifndef SERVICE_POKE_H
#define SERVICE_POKE_H

#include "base/base.h"

struct poke {
	int fd;        /* -1 while there is no scheduler */
	int64_t retry; /* mono us: not before this is a connection tried again */
	char path[108];
};

/* `queue_directory`/public/qmgr. */
void poke_init(struct poke *p, const char *queue_directory);
/* The same for another service's socket, "public/pickup". */
void poke_init_at(struct poke *p, const char *queue_directory, const char *socket_name);
void poke_done(struct poke *p);

/* The shape of queue_front_settings.on_stored; `poke` is a struct poke. */
void poke_send(void *poke);

/* The same from an operator: orders are there to be obeyed, or mail was flushed. */
void poke_send_order(struct poke *p);
#define POKE_ORDER 'o' /* the byte of it */

#endif
