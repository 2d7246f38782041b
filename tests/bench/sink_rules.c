/*
 * sink_rules.c - scripted misbehaviour: replies, dropped connections and stalls for a share of the times that a step
 * is reached. Rules are tried in the order given; the first that hits acts.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sink.h"
#include "util.h"

#define MAX_RULES 32

static const char *const step_names[SINK_N_STEPS] = {
    [SINK_CONNECT] = "connect",
    [SINK_EHLO] = "ehlo",
    [SINK_MAIL] = "mail",
    [SINK_RCPT] = "rcpt",
    [SINK_DATA] = "data",
    [SINK_DOT] = "dot",
    [SINK_QUIT] = "quit",
};

static struct sink_rule rules[MAX_RULES];
static int n_rules;
static uint64_t random_state;

static enum sink_step
parse_step(const char *name, const char *rule)
{
	for (int i = 0; i < SINK_N_STEPS; i++) {
		if (strcmp(step_names[i], name) == 0)
			return (enum sink_step)i;
	}
	errno = 0;
	util_die("rule \"%s\": no step \"%s\"", rule, name);
}

static void
parse_action(struct sink_rule *rule, const char *action, double argument)
{
	if (strcmp(action, "drop") == 0) {
		rule->action = SINK_DROP;
	} else if (strcmp(action, "stall") == 0) {
		rule->action = SINK_STALL;
		rule->seconds = argument;
	} else {
		rule->action = SINK_REPLY;
		rule->code = (int)util_parse_number("reply code of a rule", action, 400, 599);
	}
}

void
sink_rules_add(const char *text)
{
	struct sink_rule *rule = &rules[n_rules];
	char action[16], step[16];
	double share = 0, argument = 0;
	int fields = sscanf(text, "%15[^@]@%15[^=]=%lf:%lf", action, step, &share, &argument);

	errno = 0;
	if (fields < 3 || share < 0 || share > 1 || argument < 0)
		util_die("want ACTION@STEP=SHARE[:SECONDS], got \"%s\"", text);
	if (n_rules == MAX_RULES)
		util_die("more than %d rules", MAX_RULES);
	rule->step = parse_step(step, text);
	rule->share = share;
	parse_action(rule, action, argument);
	n_rules++;
}

const struct sink_rule *
sink_rules_pick(enum sink_step step)
{
	if (random_state == 0)
		random_state = UINT64_C(0x2545f4914f6cdd1d) * (uint64_t)(getpid() | 1);
	for (int i = 0; i < n_rules; i++) {
		if (rules[i].step == step && util_random_share(&random_state) < rules[i].share)
			return &rules[i];
	}
	return NULL;
}
