# Checks of the sources: rooms, form, sizes, where SQL stands.
style:
	@tests/check/style.sh
sizes:
	@tests/check/sizes.py
sql:
	@tests/check/sql.sh
check-code:
	@BUILD=$(BUILD) tests/check/run.sh tests/check/layers.sh tests/check/style.sh tests/check/sizes.py tests/check/sql.sh tests/check/params.py tests/check/docs.py

# The parameter table and the page made from it.
params-doc:
	@tests/check/params.py --write

.PHONY: params-doc style sizes sql check-code
