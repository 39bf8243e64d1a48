# `make` alone says what there is.

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR = /etc
PYTHON = /usr/bin/python3
VENV = .venv
FUZZ_VENV = .venv-fuzz
ATHERIS = 3.0.0

version := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' guardd/__init__.py)

# The folder below PREFIX where the hook's interpreter looks for modules: the hook runs
# `python3 -I -m guardd.fallback`, which takes them from nowhere else.
FIND_MODULES = import site, sys; \
  print(next((p for p in site.getsitepackages() if p.startswith(sys.argv[1] + "/lib/")), ""))
modules = $(or $(shell $(PYTHON) -I -c '$(FIND_MODULES)' '$(PREFIX)'),\
  $(error $(PYTHON) takes no modules from below $(PREFIX); use /usr/local or /usr))

bindir = $(PREFIX)/bin
sbindir = $(PREFIX)/sbin
libexecdir = $(PREFIX)/libexec/cpu-guardd
docdir = $(PREFIX)/share/doc/cpu-guardd
mandir = $(PREFIX)/share/man
unitdir = $(PREFIX)/lib/systemd/system
catalogdir = $(PREFIX)/lib/systemd/catalog
sysusersdir = $(PREFIX)/lib/sysusers.d
bashdir = $(PREFIX)/share/bash-completion/completions
zshdir = $(PREFIX)/share/zsh/site-functions
fishdir = $(PREFIX)/share/fish/vendor_completions.d
confdir = $(SYSCONFDIR)/cpu-guardd

CFLAGS ?= -O2 -g
HOOK_CFLAGS = -std=gnu11 -Wall -Wextra -Wconversion -Wshadow

sources := $(shell find guardd -name '*.py' -o -name '*.j2')
# with their folders, so that the links among them lead somewhere
docs = README.md NEWS.md SECURITY.md $(shell find docs -type f)
units = $(notdir $(wildcard systemd/*.service systemd/*.socket systemd/*.timer))
man_pages = $(wildcard man/*.1 man/*.5 man/*.8)
installed_man_pages = $(foreach page,$(man_pages),man$(subst .,,$(suffix $(page)))/$(notdir $(page)))

DEB_PACKAGES = python3 python3-all python3-venv python3-setuptools python3-libvirt python3-lxml \
  python3-systemd python3-click python3-rich python3-prometheus-client python3-jinja2 \
  libvirt-clients build-essential debhelper dh-python pybuild-plugin-pyproject groff-base systemd
# for the tests of other shells, of Fedora's package, of SELinux and AppArmor, of PowerPC, and of a
# page in a browser
TEST_PACKAGES = zsh fish bzip2 rpm checkpolicy semodule-utils policycoreutils selinux-utils \
  selinux-policy-dev setools gawk apparmor python3-apparmor qemu-system-ppc chromium \
  chromium-driver fonts-dejavu-core

.DELETE_ON_ERROR:
.PHONY: help install install-modules install-programs install-data install-units uninstall \
  deb rpm check test bench fuzz faults storm demo deps clean

help:
	@echo 'make deps       install what check, test and deb need (Debian 12 or 13, as root)'
	@echo 'make check      format, lint, types, unit tests, man pages'
	@echo 'make test       deps, check, and the tests on the hosts of the lab (as root)'
	@echo 'make bench      measure, beside what others need for the same (as root)'
	@echo 'make fuzz       give what reads strangers'\'' input a million strange inputs (20 minutes)'
	@echo 'make demo       show a guest that is refused, on the hosts of the lab (as root)'
	@echo 'make faults     break what it stands on, ROUNDS=200 times, under load (as root)'
	@echo 'make storm      call the hook for thousands of guests at once (as root)'
	@echo 'make deb        build the Debian package into dist/'
	@echo 'make rpm        build the RPM packages into dist/ (Fedora)'
	@echo 'make install    install below PREFIX ($(PREFIX)), staged in DESTDIR'
	@echo 'make uninstall  remove what install put there'
	@echo 'make clean      remove what was built'

# -- install

install: install-modules install-programs install-data install-units
ifeq ($(DESTDIR),)
	@echo 'Installed. To put it to work, as root:'
	@echo '  systemd-sysusers && journalctl --update-catalog && systemctl daemon-reload'
	@echo '  systemctl enable --now cpu-guardd.socket cpu-guardd.service'
	@echo '  $(bindir)/cpu-guardctl hook install'
endif

install-modules:
	rm -rf '$(DESTDIR)$(modules)/guardd'
	for file in $(sources); do \
	  install -D -m 644 "$$file" "$(DESTDIR)$(modules)/$$file" || exit; done
	$(PYTHON) -I -m compileall -q $(if $(DESTDIR),-s '$(DESTDIR)' -p /) '$(DESTDIR)$(modules)/guardd'

build/hook: hooks/qemu.c
	mkdir -p build
	$(CC) $(CPPFLAGS) $(CFLAGS) $(HOOK_CFLAGS) $(LDFLAGS) -o $@ $<

install-programs: build/hook
	printf '#!%s -I\nfrom %s import run\n\nrun()\n' $(PYTHON) guardd.ctl.__main__ | \
	  install -D -m 755 /dev/stdin '$(DESTDIR)$(bindir)/cpu-guardctl'
	printf '#!%s -I\nfrom %s import main\n\nmain()\n' $(PYTHON) guardd.__main__ | \
	  install -D -m 755 /dev/stdin '$(DESTDIR)$(sbindir)/cpu-guardd'
	install -D -m 755 build/hook '$(DESTDIR)$(libexecdir)/hook'

# A configuration that is there already is kept.
install-data:
	install -D -m 644 systemd/cpu-guardd.catalog '$(DESTDIR)$(catalogdir)/cpu-guardd.catalog'
	for page in $(installed_man_pages); do \
	  install -D -m 644 "man/$${page##*/}" "$(DESTDIR)$(mandir)/$$page" || exit; done
	for file in $(docs); do \
	  install -D -m 644 "$$file" '$(DESTDIR)$(docdir)'/"$$file" || exit; done
	install -D -m 644 completions/cpu-guardctl.bash '$(DESTDIR)$(bashdir)/cpu-guardctl'
	install -D -m 644 completions/_cpu-guardctl '$(DESTDIR)$(zshdir)/_cpu-guardctl'
	install -D -m 644 completions/cpu-guardctl.fish '$(DESTDIR)$(fishdir)/cpu-guardctl.fish'
	[ -e '$(DESTDIR)$(confdir)/guardd.toml' ] || \
	  install -D -m 644 etc/cpu-guardd/guardd.toml '$(DESTDIR)$(confdir)/guardd.toml'

install-units:
	for unit in $(units); do \
	  sed 's,=/usr/sbin/cpu,=$(sbindir)/cpu,; s,=/usr/bin/cpu,=$(bindir)/cpu,' "systemd/$$unit" | \
	  install -D -m 644 /dev/stdin "$(DESTDIR)$(unitdir)/$$unit" || exit; done
	install -D -m 644 systemd/cpu-guardd.sysusers '$(DESTDIR)$(sysusersdir)/cpu-guardd.conf'

# On the running host the hook goes first: a hook without its program answers for nobody.
# A configuration that was changed is kept, and so are its drop-ins.
uninstall:
ifeq ($(DESTDIR),)
	[ ! -x '$(bindir)/cpu-guardctl' ] || '$(bindir)/cpu-guardctl' hook remove
	[ ! -d /run/systemd/system ] || [ ! -e '$(unitdir)/cpu-guardd.service' ] || \
	  systemctl disable --now $(notdir $(wildcard $(units:%=$(unitdir)/%)))
endif
	rm -f $(units:%='$(DESTDIR)$(unitdir)/%') \
	  '$(DESTDIR)$(sysusersdir)/cpu-guardd.conf' '$(DESTDIR)$(catalogdir)/cpu-guardd.catalog' \
	  '$(DESTDIR)$(bindir)/cpu-guardctl' '$(DESTDIR)$(sbindir)/cpu-guardd' \
	  '$(DESTDIR)$(bashdir)/cpu-guardctl' '$(DESTDIR)$(zshdir)/_cpu-guardctl' \
	  '$(DESTDIR)$(fishdir)/cpu-guardctl.fish' $(installed_man_pages:%='$(DESTDIR)$(mandir)/%')
	rm -rf '$(DESTDIR)$(modules)/guardd' '$(DESTDIR)$(libexecdir)' '$(DESTDIR)$(docdir)'
	! cmp -s etc/cpu-guardd/guardd.toml '$(DESTDIR)$(confdir)/guardd.toml' || \
	  rm '$(DESTDIR)$(confdir)/guardd.toml'
	[ ! -d '$(DESTDIR)$(confdir)' ] || \
	  rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(confdir)'

# the tree without what tools leave in it
TREE = tar -c --exclude-vcs --exclude=./build --exclude=./dist --exclude='./.*' \
  --exclude=__pycache__ --exclude='*.egg-info'

# -- the Debian package

# Built from a copy: dpkg-buildpackage leaves its traces in the tree and beside it. By Debian's own
# tools, whatever else is on the PATH.
deb:
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; mkdir "$$folder/source"; \
	$(TREE) . | tar -x -C "$$folder/source"; \
	(cd "$$folder/source" && \
	  PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage --build=binary -us -uc); \
	mkdir -p dist; mv "$$folder"/cpu-guardd_$(version)_* dist/
	@ls -l dist/cpu-guardd_$(version)_*.deb

# -- the RPM package

# On Fedora, with rpm-build and what the spec names as BuildRequires. RPMBUILD_FLAGS: more options.
rpm:
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	mkdir "$$folder/SOURCES"; $(TREE) --transform 's,^\.,cpu-guardd-$(version),' \
	  -zf "$$folder/SOURCES/cpu-guardd-$(version).tar.gz" .; \
	rpmbuild $(RPMBUILD_FLAGS) --define "_topdir $$folder" -ba rpm/cpu-guardd.spec; \
	mkdir -p dist; mv "$$folder"/SRPMS/*.rpm "$$folder"/RPMS/*/*.rpm dist/
	@ls -l dist/cpu-guardd-*$(version)-*.rpm

# -- checks

check: $(VENV)/installed
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy --strict guardd tests bench
	$(VENV)/bin/pytest --ignore=tests/lab -m 'not slow'
	@complaints=$$(groff -man -Tutf8 -ww -z $(man_pages) 2>&1); \
	  [ -z "$$complaints" ] || { echo "$$complaints"; exit 1; }

test: deps
	@$(call install_missing,$(TEST_PACKAGES))
	$(MAKE) check
	$(VENV)/bin/pytest tests/lab tests/powerpc tests/selinux tests/rpm tests/test_apparmor.py \
	  tests/ctl/test_report_browser.py

# BENCH: --quick, or the parts that are wanted
bench: deps build/hook
	$(VENV)/bin/python -m bench $(BENCH)

# RUNS: inputs for the wire and for domain XML each, a tenth of them for the rest. JOBS: at a time.
RUNS = 500000
JOBS = 2
fuzz: $(FUZZ_VENV)/installed
	nice $(FUZZ_VENV)/bin/python -m tests.fuzz --runs $(RUNS) --jobs $(JOBS)
	nice $(FUZZ_VENV)/bin/python -m tests.fuzz.hook $(RUNS)

demo: deps
	$(PYTHON) -m tests.lab.demo

# SEED repeats what was random; FAULTS="'daemon killed' upgraded" plays only these
ROUNDS = 200
faults: deps
	$(PYTHON) -m tests.lab.faults --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) \
	  $(if $(FAULTS),--only $(FAULTS))

storm: deps
	$(PYTHON) -m tests.lab.storm

define install_missing
missing=$$(for package in $(1); do \
  dpkg-query -W -f='$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || \
  echo $$package; done); \
[ -z "$$missing" ] || { set -ex; apt-get update; \
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; }
endef

# The CPU map comes with python3-libvirt: libvirt0 has it on Debian 12, its dependency
# libvirt-common on Debian 13.
deps:
	@$(call install_missing,$(DEB_PACKAGES))
	@$(MAKE) -s $(VENV)/installed

# Made anew when the pins or the interpreter change.
$(VENV)/installed: requirements-dev.txt $(realpath $(PYTHON))
	$(PYTHON) -m venv --clear --system-site-packages $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# No part of the other one: its wheels are not for every Python.
$(FUZZ_VENV)/installed: requirements-dev.txt $(realpath $(PYTHON))
	$(PYTHON) -m venv --clear --system-site-packages $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt \
	  atheris==$(ATHERIS)
	touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
