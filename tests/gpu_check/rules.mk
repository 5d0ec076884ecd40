# scripts/gpu-check; included by the top Makefile. The library as tests/check_torch/probe.c makes it, and the same with hooks
# that count their calls.
GPU_CHECK := $(BUILD)/gpu_check

gpu-check-probes: $(BUILD)/check_torch/probe.so $(GPU_CHECK)/counting.so # what scripts/gpu-check preloads

$(GPU_CHECK)/%.o: src/cuda/%.c tests/gpu_check/counting.h
	@mkdir -p $(@D)
	$(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(VARIANT_FLAGS) $(CFLAGS) -include tests/gpu_check/counting.h -MMD -MP -c -o $@ $<

COUNTED := hooks_driver.o hooks_runtime.o
$(GPU_CHECK)/counting.so: tests/gpu_check/counting.c tests/check_torch/probe.c $(addprefix $(GPU_CHECK)/,$(COUNTED)) $(BUILD)/check_torch/probe.so
	$(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(VARIANT_FLAGS) $(CFLAGS) \
	    $(LIB_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.c %.o,$^) \
	    $(filter-out $(addprefix $(BUILD)/cuda/,$(COUNTED)),$(OBJECTS)) $(STATIC_LIBS) -pthread
