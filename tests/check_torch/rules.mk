# Real PyTorch on the fake GPU; included by the top Makefile, run by hand: it installs 5 GB.
TORCH        := build/venvs/torch/ready
TORCH_PYTHON ?= python3.11

check-torch: all $(BUILD)/check_torch/probe.so fake-cuda $(VENV) $(TORCH) ## real PyTorch on the fake GPU; installs 5 GB, not part of check
	scripts/run-integration build/venv/bin/python tests/check_torch $(PYTEST_ARGS)

# The library with a way to read its figures where there is no ComfyUI.
$(BUILD)/check_torch/probe.so: tests/check_torch/probe.c $(BUILD)/libcomfydd.so $(OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(VARIANT_FLAGS) $(CFLAGS) -MMD -MP \
	    $(LIB_LDFLAGS) $(LDFLAGS) -o $@ $< $(OBJECTS) $(STATIC_LIBS) -pthread

# PyTorch's libraries find NVIDIA's runtime by their RPATH, whatever LD_LIBRARY_PATH says: the fake one takes its place.
$(TORCH): tests/check_torch/requirements.txt
	$(TORCH_PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check -r $<
	ln -sf $(CURDIR)/build/fakes/cuda/libcudart.so.13 $(@D)/lib/python3.*/site-packages/nvidia/cu13/lib/
	touch $@
