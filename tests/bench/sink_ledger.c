/*
 * sink_ledger.c - the sink's record of delivered messages. Several processes append to one file, so each write()
 * holds whole lines only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sink.h"
#include "util.h"

static int ledger = -1;
static char buffer[1 << 16];
static size_t buffered;

void
sink_ledger_open(const char *path)
{
	ledger = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (ledger == -1)
		util_die("open %s", path);
}

static void
write_all(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(ledger, data, len);

		if (n == -1 && errno != EINTR)
			util_die("write the ledger");
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
}

void
sink_ledger_flush(void)
{
	if (buffered > 0)
		write_all(buffer, buffered);
	buffered = 0;
}

void
sink_ledger_add(const char *id, const char *recipients, uint64_t body_bytes, int64_t now_ns)
{
	size_t need = strlen(id) + strlen(recipients) + 64;

	if (buffered + need > sizeof buffer)
		sink_ledger_flush();
	if (need > sizeof buffer) {
		dprintf(ledger, "%s %llu %lld %s\n", id, (unsigned long long)body_bytes,
		    (long long)now_ns, recipients);
		return;
	}
	buffered += (size_t)snprintf(buffer + buffered, sizeof buffer - buffered,
	    "%s %llu %lld %s\n", id, (unsigned long long)body_bytes, (long long)now_ns, recipients);
}
