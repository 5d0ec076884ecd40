# comfydd run in a virtual machine of its own; included by the top Makefile, run by hand: it downloads 44 MB.
check-vm: all $(VENV) ## comfydd run as init of a virtual machine with cgroup v2; not part of check, takes some minutes
	build/venv/bin/python tests/check_vm/machine.py $(PYTEST_ARGS)
