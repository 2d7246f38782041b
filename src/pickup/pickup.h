/*
 * pickup.h - the service that empties maildrop (Postfix's pickup(8)): each file becomes a queued message, exactly one, whatever dies
 * when. Wakes up when postdrop says so, and once a minute.
 */
#ifndef PICKUP_PICKUP_H
#define PICKUP_PICKUP_H

#include "service/service.h"

extern const struct service_kind pickup_kind;

#endif
