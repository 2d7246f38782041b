/*
 * link.h - frames over one UNIX socket between the scheduler and one agent process. All deliveries of the process
 * share the link: each frame names its delivery, so that many small requests and results travel in one system call.
 *
 *	u32 length of the rest | u8 type | u32 delivery id | payload
 *
 * The agent connects to the scheduler's socket (private/qmgr), says HELLO, and takes requests until either side leaves.
 * Frames are queued without waiting and go out at the end of the loop's turn; one task per link reads.
 */
#ifndef SERVICE_LINK_H
#define SERVICE_LINK_H

#include "base/base.h"
#include "base/buf.h"
#include "base/span.h"
#include "net/stream.h"

/* What stands in front of a payload. */
#define LINK_HEAD_SIZE 9

struct link;

/* Takes over `stream`. */
struct link *link_new(struct stream *stream);

/* Closes; queued frames are lost. Accepts NULL. */
void link_free(struct link **l);

/*
 * Queues one frame. Never waits. Returns false when the link is broken (the reader notices by itself). The payload is
 * copied.
 */
bool link_send(struct link *l, uint8_t type, uint32_t delivery, struct span payload);

/* Begins a frame in place, to spare the copy: append the payload to the returned buffer, then link_send_end(). */
struct buf *link_send_begin(struct link *l, uint8_t type, uint32_t delivery);
void link_send_end(struct link *l);

/* Bytes queued and not yet taken by the kernel: for senders of large contents. */
size_t link_backlog(const struct link *l);

/* Waits until no more than `max` bytes are queued, or the deadline, or somebody frees the link (STREAM_ERROR). */
enum stream_result link_wait_backlog(struct link *l, size_t max, int64_t deadline);

/* Reads one frame; the payload is valid until the next call. Waits. */
enum stream_result link_receive(struct link *l, int64_t deadline, uint8_t *ret_type,
    uint32_t *ret_delivery, struct span *ret_payload);

#endif
