/*
 * qmqpd_int.h - shared inside the room.
 */
#ifndef QMQPD_QMQPD_INT_H
#define QMQPD_QMQPD_INT_H

#include "cleanup/cleanup.h"
#include "cleanup/cleanup_front.h"
#include "conf/conf.h"
#include "conf/conf_net_list.h"
#include "net/net_addr.h"
#include "net/stream.h"
#include "rewrite/rewrite.h"

#define QMQPD_NAME_SIZE 256

/* What one configuration compiles to; counted, so that sessions outlive a reload. */
struct qmqpd_setup {
	size_t refs;
	struct conf *conf; /* owned */
	struct rewrite *rewrite;
	struct cleanup_settings cleanup;
	struct conf_net_list *clients; /* qmqpd_authorized_clients */
	bool replace_cr;               /* cleanup_replace_stray_cr_lf */
	bool subdomains;               /* parent_domain_matches_subdomains has that parameter */
};

struct qmqpd_server {
	struct service *service;
	struct qmqpd_setup *setup; /* owned */
	struct cleanup_front front;
	struct service_listen *listen; /* its doors */
};

struct qmqpd_setup *qmqpd_setup_ref(struct qmqpd_setup *setup);
void qmqpd_setup_unref(struct qmqpd_setup **setup);

/* One connection, from greeting to goodbye; frees the stream. The shape of net_server.session, arg = struct qmqpd_server. */
void qmqpd_session_run(struct stream *stream, const struct net_addr *peer, void *arg);

/* The client's name if it resolves back to the address, else "unknown". Waits for DNS. */
void qmqpd_peer_name(const struct net_addr *peer, char name[QMQPD_NAME_SIZE]);

#endif
