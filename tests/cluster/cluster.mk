# What a cluster promises when things die (docs/reliability.md): two nodes on one database, in a build with crash points.
#	make check-cluster          the short form, part of make check          CLUSTER_ARGS='-v PATTERN' runs some
#	make check-cluster-full     everything: each crash point on both nodes, killed and stopped, 100 random deaths
CLUSTER_BUILD := $(BUILD)-crash
CLUSTER_RUN = BUILD=$(BUILD) tests/session/run.py --dir tests/cluster --name cluster --bin $(CLUSTER_BUILD)/bin

cluster-build: check-deps
	$(Q)$(MAKE) BUILD=$(CLUSTER_BUILD) CRASHPOINTS=1 SAN= all
check-cluster: cluster-build
	@$(CLUSTER_RUN) $(CLUSTER_ARGS)
check-cluster-full: cluster-build
	@CLUSTER=full $(CLUSTER_RUN) $(CLUSTER_ARGS)

.PHONY: cluster-build check-cluster check-cluster-full
