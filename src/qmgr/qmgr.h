/*
 * qmgr.h - the scheduler as a service of master: what src/cmd/qmgr.c starts.
 */
#ifndef QMGR_QMGR_H
#define QMGR_QMGR_H

#include "service/service.h"

extern const struct service_kind qmgr_kind;

#endif
