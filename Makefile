# Two commands do the main job: `make run` and `make test`; `make help` lists the others.
# All paths are relative and nothing changes directory, so a folder with a space in its name works.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Two thread pools fight on small data: implicit has its own threads, so the BLAS gets one; and
# threads that wait by spinning would take the core of what runs beside them.
export OPENBLAS_NUM_THREADS := 1
export OMP_WAIT_POLICY := passive

BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PYTHON := $(BIN)/python
READY := .venv/.ready
INSTALLING := .venv/.installing

# The interpreter that makes .venv: the first that is 3.11 or newer, or `make PYTHON3=... run`.
PYTHON3 ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)

# What a user sets reaches the programs as it is: `value` expands nothing, quotes stop the shell.
# Many shells keep the width of the terminal in COLUMNS, and an OPTIONS of the environment is meant
# for another program: of these two only the one typed after `make` counts.
DATASET ?= movielens-100k
unexport COLUMNS DATASET ITEMS LISTS LOG NOTEBOOKS OPTIONS QUERY SET SOURCE TO WINDOW
typed = $(if $(filter command line,$(origin $(1))),$(value $(1)))
quote = '$(subst ','\'',$(1))'
given = $(if $(2),--$(1)=$(call quote,$(2)))

UV := $(PYTHON) -m uv
LOCK := $(UV) pip compile pyproject.toml --extra serve --extra spark --extra test --extra dev \
	--universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet

.PHONY: help
help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/\1|\2/p' Makefile \
	| while IFS='|' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done
	@echo
	@echo '  make run DATASET=movielens-1m'
	@echo '  make run DATASET=log.csv ITEMS=titles.csv COLUMNS="user=visitor,item=sku,value=qty"'
	@echo '  make run NOTEBOOKS="1 2 3"           a part of them'
	@echo '  make run SET="factors=64 seed=1"     parameters of the notebooks'

.PHONY: run
run: $(READY)  ## fetch the data, execute the notebooks, write reports/<data set>/
	@$(PYTHON) -m helpers run $(call given,dataset,$(value DATASET)) \
		$(call given,columns,$(call typed,COLUMNS)) $(call given,items,$(value ITEMS)) \
		$(call given,notebooks,$(value NOTEBOOKS)) $(call given,settings,$(value SET))

.PHONY: tidy
tidy: $(READY)  ## clean a log of any shape: LOG=exports/ TO=cleaned/ OPTIONS="--day-first"
	@test -n $(call quote,$(value LOG)) || { echo 'error: say what to clean: make tidy' \
		'LOG=exports/' >&2; exit 1; }
	@$(PYTHON) -m helpers clean $(call given,to,$(or $(value TO),cleaned)) \
		$(call given,columns,$(call typed,COLUMNS)) $(call given,options,$(call typed,OPTIONS)) \
		-- $(call quote,$(value LOG))

.PHONY: serve
serve: $(READY)  ## the recommendations as an API, http://127.0.0.1:3000: OPTIONS="--port 8000"
	@$(PYTHON) -m helpers serve $(call given,dataset,$(value DATASET)) \
		$(call given,columns,$(call typed,COLUMNS)) $(call given,items,$(value ITEMS)) \
		$(call given,to,$(value TO)) \
		$(call given,options,$(call typed,OPTIONS))

.PHONY: publish
publish: $(READY)  ## bring lists of any job into a table: LISTS=recommendations.parquet TO=data/serving/shop
	@test -n $(call quote,$(value LISTS)) -a -n $(call quote,$(value TO)) || { echo 'error: say what' \
		'and where: make publish LISTS=recommendations.parquet TO=data/serving/shop' >&2; exit 1; }
	@$(PYTHON) -m helpers publish $(call given,to,$(value TO)) $(call given,options,$(call typed,OPTIONS)) \
		-- $(call quote,$(value LISTS))

.PHONY: refresh
refresh: $(READY)  ## one day's work: fetch, fit, compare, publish: SOURCE=exports/ (cron: README)
	@test -n $(call quote,$(value SOURCE)) || { echo 'error: say where the log is: make refresh' \
		'SOURCE=exports/' >&2; exit 1; }
	@$(PYTHON) -m helpers refresh --source=$(call quote,$(value SOURCE)) \
		$(call given,query,$(value QUERY)) $(call given,columns,$(call typed,COLUMNS)) \
		$(call given,items,$(value ITEMS)) $(call given,window,$(value WINDOW)) \
		$(call given,to,$(value TO)) $(call given,options,$(call typed,OPTIONS))

.PHONY: dashboard
dashboard: $(READY)  ## the recommendations in a browser, http://127.0.0.1:8501
	@$(PYTHON) -m helpers dashboard $(call given,dataset,$(value DATASET)) \
		$(call given,columns,$(call typed,COLUMNS)) $(call given,items,$(value ITEMS)) \
		$(call given,to,$(value TO)) \
		$(call given,options,$(call typed,OPTIONS))

.PHONY: space
space: $(READY)  ## a folder for a Hugging Face Space: TO=space/
	@$(PYTHON) -m helpers space $(call given,to,$(or $(value TO),space))

# The notebooks and the rest at the same time; a failure of either fails the whole. Much of the rest
# waits for other programs, so it has two processes. After the notebooks, the results that they have
# just written are compared.
.PHONY: test
test: $(READY)  ## unit tests, doctests, the notebooks against their outputs, the hygiene checks
	@$(PYTHON) -m helpers datasets movielens-100k online-retail
	@echo 'the notebooks (shown now) and all other tests (shown when done) run side by side'
	@$(MAKE) --no-print-directory --keep-going -j2 test-notebooks test-others

RESULTS := tests/test_results_hold.py
LONGEST := tests/test_spark.py tests/test_own_log.py  # so they start first
OTHERS := $(LONGEST) $(filter-out $(RESULTS) $(LONGEST),$(wildcard tests/*.py)) helpers

.PHONY: test-notebooks test-others
test-notebooks:
	@$(PYTHON) -m pytest notebooks $(RESULTS)
test-others:
	@$(PYTHON) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(OTHERS) \
		> .venv/tests.log 2>&1; status=$$?; cat .venv/tests.log; exit $$status

.PHONY: lint
lint: $(READY)  ## ruff and mypy
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

.PHONY: bench
bench: $(READY)  ## speed, memory and quality against peers (hours); then `make notebooks`
	@$(PYTHON) tests/bench.py
	@$(PYTHON) tests/bench_metrics.py
	@$(PYTHON) tests/bench_als.py
	@$(PYTHON) tests/bench_cleaning.py
	@$(PYTHON) tests/bench_run.py
	@$(PYTHON) tests/bench_refresh.py
	@$(PYTHON) tests/bench_serving.py
	@$(PYTHON) tests/bench_gpu.py
	@$(PYTHON) tests/bench_growth.py
	@$(PYTHON) tests/bench_spark.py

.PHONY: notebooks
notebooks: $(READY)  ## maintainers: re-execute the notebooks in place, write reports/ and README.md
	@$(PYTHON) -m helpers notebooks $(foreach number,$(value NOTEBOOKS),$(call quote,$(number)))
	@$(PYTHON) -m helpers report
	@$(PYTHON) tests/readme.py

.PHONY: report
report: $(READY)  ## render again without executing: the committed notebooks, or those of DATASET=...
	@$(PYTHON) -m helpers report $(call given,dataset,$(call typed,DATASET)) \
		$(call given,settings,$(call typed,SET))

.PHONY: readme
readme: $(READY)  ## write the findings and tables of README.md from reports/results/
	@$(PYTHON) tests/readme.py

.PHONY: lab
lab: $(READY)  ## open the notebooks in JupyterLab
	@$(PYTHON) -m jupyterlab notebooks

.PHONY: lock
lock: $(READY)  ## maintainers: lock the dependencies again, for pip and conda (UPGRADE=1: newest)
	$(LOCK) $(if $(UPGRADE),--upgrade) -o requirements.txt
	$(PYTHON) -m pyproject2conda project --overwrite force

.PHONY: clean
clean:  ## remove .venv, caches and everything derived; keeps data/raw and the committed reports
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache data/processed
	find helpers tests notebooks -name __pycache__ -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -prune -exec rm -rf {} +
	@for folder in reports/*/; do case "$$folder" in reports/figures/|reports/results/|"reports/*/") ;; \
		*) rm -rf "$$folder";; esac; done

# The set-up. An installation that was killed leaves its mark and starts afresh; without a network
# nothing changes, and the message says what is missing.
$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON3)" || { echo 'error: no Python 3.11 or newer with the module venv was' \
		'found; install one, or name it: make PYTHON3=/path/to/python3 ...' >&2; exit 1; }
	@if [ -e $(INSTALLING) ] || ! $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		echo 'making .venv with $(PYTHON3)' >&2; $(PYTHON3) -m venv --clear .venv; fi
	@sed -n '/^uv==/,/# via/p' requirements.txt > .venv/uv.txt
	@$(UV) --version >/dev/null 2>&1 || $(PYTHON) -m pip install --quiet --retries 2 \
		--disable-pip-version-check --require-hashes -r .venv/uv.txt \
		|| { $(call not-installed,the installer uv); }
	@touch $(INSTALLING)
	@$(UV) pip install --compile-bytecode --python $(PYTHON) --require-hashes -r requirements.txt \
		|| { $(call not-installed,the dependencies (requirements.txt)); }
	@$(UV) pip install --python $(PYTHON) --quiet --no-deps --no-build-isolation --editable .
	@$(PYTHON) -c 'import matplotlib.font_manager'  # else its first use reports on stderr
	@rm $(INSTALLING)
	@touch $(READY)

define not-installed
echo 'error: could not install $(1): the reason is above. If the package index was not reached,' \
	'connect to the network (or point pip and uv to your mirror) and run make again' >&2; exit 1
endef
