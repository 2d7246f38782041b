/*
 * backend.h - the types of tables that ask somebody else: a server over the network, the queue database, or a foreign library.
 * The lower rooms know their names; a program that is to open such tables links the types.
 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

/* tcp, socketmap, memcache, pgsql, cluster: those that wait in a task. To be called at the front of main(). */
void backend_link(void);

/* These, and ldap, mysql and sqlite, whose libraries block: for programs that may block, or have processes that may. */
void backend_link_all(void);

#endif
