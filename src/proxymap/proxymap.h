/*
 * proxymap.h - the lookup service: answers what other processes ask of tables that block, or that they may not read themselves
 * (proxymap(8)). Which ones is decided here, not there.
 */
#ifndef PROXYMAP_PROXYMAP_H
#define PROXYMAP_PROXYMAP_H

#include "service/service.h"

extern const struct service_kind proxymap_kind;

#endif
