# The recorded behaviour of Postfix (tests/conformance, tests/conformance-dns); their README says how to run one case.
CONFORMANCE_JOBS ?=
CONFORMANCE_ARGS  = $(if $(CONFORMANCE_JOBS),-j $(CONFORMANCE_JOBS)) $(CONFORMANCE_FLAGS)

check-conformance: all
	@BUILD=$(BUILD) tests/conformance/run.py $(CONFORMANCE_ARGS)
check-conformance-dns: all
	@BUILD=$(BUILD) tests/conformance-dns/run.py $(CONFORMANCE_ARGS)
# Cases of our own, recorded with the same Postfix (tests/conformance-own).
check-conformance-own: all
	@BUILD=$(BUILD) tests/conformance/run.py --suite own $(CONFORMANCE_ARGS)
	@BUILD=$(BUILD) tests/conformance-dns/run.py --suite own $(CONFORMANCE_ARGS)
# The fixed set for the sanitizer build. A finding aborts the process; master logs the signal and the case fails.
check-conformance-san: all
	@BUILD=$(BUILD) $(SAN_ENV) tests/conformance/run.py $(CONFORMANCE_ARGS) --name conformance-san \
	    --set tests/conformance/sanitizer-set.txt

.PHONY: check-conformance check-conformance-dns check-conformance-own check-conformance-san
