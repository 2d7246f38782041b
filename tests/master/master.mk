# Tests of master with stand-ins for its services (tests/master/probe.c): make check-master [MASTER_ARGS='-v PATTERN']
PROBE := $(BUILD)/master/probe
$(PROBE): $(BUILD)/tests/master/probe.o $(LIBS)
	@mkdir -p $(@D); $(if $(V),,echo "LD $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< $(LIBS) $(LDLIBS)

check-master: all $(PROBE)
	@BUILD=$(BUILD) PROBE=$(PROBE) $(SAN_ENV) tests/session/run.py --dir tests/master --name master $(MASTER_ARGS)

.PHONY: check-master
