# docs/deploy/Dockerfile, really built and run; included by the top Makefile, run by hand: it installs two Debians.
check-image: all $(VENV) ## the Dockerfile built and run; needs root, buildah, mmdebstrap, and some minutes; not part of check
	scripts/run-integration build/venv/bin/python tests/check_image $(PYTEST_ARGS)
