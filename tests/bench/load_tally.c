/*
 * load_tally.c - what the load generator counts, prints and writes to its ledger.
 */
#include "load.h"

#include <stdlib.h>

#include "util.h"

static const char *const outcome_names[LOAD_N_OUTCOMES] = {
    [LOAD_ACCEPTED] = "accepted",
    [LOAD_REFUSED] = "refused",
    [LOAD_FAILED] = "failed",
    [LOAD_IN_DOUBT] = "in_doubt",
};

void
load_tally_start(struct load_tally *tally, const char *ledger_path)
{
	if (ledger_path != NULL) {
		tally->ledger = fopen(ledger_path, "we");
		if (tally->ledger == NULL)
			util_die("open %s", ledger_path);
		setvbuf(tally->ledger, NULL, _IOFBF, 1 << 20);
	}
	tally->start_cpu_us = util_cpu_us();
	tally->start_ns = util_now_ns();
}

static void
add_latency(struct load_tally *tally, int64_t ns)
{
	if (tally->n_latencies == tally->max_latencies) {
		tally->max_latencies = tally->max_latencies ? tally->max_latencies * 2 : 65536;
		tally->latency_us =
		    realloc(tally->latency_us, tally->max_latencies * sizeof *tally->latency_us);
		if (tally->latency_us == NULL)
			util_die("out of memory");
	}
	tally->latency_us[tally->n_latencies++] = (uint32_t)(ns / 1000);
}

void
load_tally_add(struct load_tally *tally, const char *run_id, const struct load_attempt *attempt)
{
	tally->outcomes[attempt->outcome]++;
	if (attempt->outcome == LOAD_ACCEPTED) {
		tally->recipients += attempt->recipients;
		tally->last_accept_ns = attempt->reply_ns;
		add_latency(tally, attempt->reply_ns - attempt->dot_ns);
	} else if (attempt->outcome == LOAD_REFUSED) {
		tally->refused_4xx += attempt->code < 500;
		tally->refused_5xx += attempt->code >= 500;
	}
	if (tally->ledger != NULL)
		fprintf(tally->ledger, "%s %s-%lld %s %d %zu %lld %lld\n",
		    outcome_names[attempt->outcome], run_id, (long long)attempt->seq,
		    attempt->queue_id, attempt->recipients, attempt->body_bytes,
		    (long long)attempt->dot_ns, (long long)attempt->reply_ns);
}

static int
compare_latency(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Nearest rank, in milliseconds; the array is sorted. */
static double
percentile(const struct load_tally *tally, double share)
{
	size_t rank = (size_t)((double)tally->n_latencies * share);

	if (tally->n_latencies == 0)
		return 0;
	if (rank >= tally->n_latencies)
		rank = tally->n_latencies - 1;
	return tally->latency_us[rank] / 1000.0;
}

static void
print_latency(const struct load_tally *tally)
{
	if (tally->n_latencies > 0)
		qsort(tally->latency_us, tally->n_latencies, sizeof *tally->latency_us,
		    compare_latency);
	printf("\"latency_ms\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}, ",
	    percentile(tally, 0.50), percentile(tally, 0.90), percentile(tally, 0.99),
	    percentile(tally, 1.0));
}

void
load_tally_print_ready(const struct load *load)
{
	printf("{\"event\": \"ready\", \"sessions\": %d, \"ready\": %d, \"seconds\": %.3f}\n",
	    load->opt.sessions, load->ready,
	    (double)(util_now_ns() - load->tally.start_ns) / (double)UTIL_NS_PER_SECOND);
	fflush(stdout);
}

void
load_tally_print(const struct load *load)
{
	const struct load_tally *tally = &load->tally;
	int64_t accepted = tally->outcomes[LOAD_ACCEPTED];
	double seconds = accepted ? (double)(tally->last_accept_ns - tally->start_ns) / 1e9 : 0;
	double cpu_ms = (double)(util_cpu_us() - tally->start_cpu_us) / 1000;

	printf(
	    "{\"accepted\": %lld, \"recipients\": %lld, \"refused_4xx\": %lld, \"refused_5xx\": %lld, "
	    "\"failed\": %lld, \"in_doubt\": %lld, ",
	    (long long)accepted, (long long)tally->recipients, (long long)tally->refused_4xx,
	    (long long)tally->refused_5xx, (long long)tally->outcomes[LOAD_FAILED],
	    (long long)tally->outcomes[LOAD_IN_DOUBT]);
	printf("\"connects\": %lld, \"connect_errors\": %lld, \"timeouts\": %lld, \"cut_off\": %s, "
	       "\"pipelined\": %s, \"noops_answered\": %d, ",
	    (long long)tally->connects, (long long)tally->connect_errors,
	    (long long)tally->timeouts, load->cut_off ? "true" : "false",
	    load->pipelined ? "true" : "false", load->noops_answered);
	print_latency(tally);
	printf("\"start_ns\": %lld, \"last_accept_ns\": %lld, \"seconds\": %.6f, \"rate\": %.1f, "
	       "\"cpu_ms\": %.3f, \"cpu_ms_per_message\": %.4f}\n",
	    (long long)tally->start_ns, (long long)tally->last_accept_ns, seconds,
	    seconds > 0 ? (double)accepted / seconds : 0, cpu_ms,
	    accepted ? cpu_ms / (double)accepted : 0);
	if (tally->ledger != NULL && fclose(tally->ledger) != 0)
		util_die("write the ledger");
}
