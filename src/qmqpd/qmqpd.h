/*
 * qmqpd.h - the QMQP server (Postfix's qmqpd(8); https://cr.yp.to/proto/qmqp.html): one message a connection, for the hosts
 * in qmqpd_authorized_clients.
 */
#ifndef QMQPD_QMQPD_H
#define QMQPD_QMQPD_H

#include "service/service.h"

extern const struct service_kind qmqpd_kind;

#endif
