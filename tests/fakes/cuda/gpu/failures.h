/* failures: calls that a test wants to fail (fake_gpu_fail), and FAKE_CUDA_FAIL=NAME:ERROR[:TIMES[:AFTER]], several with
 * commas. Any thread. */
#ifndef FAKE_FAILURES_H
#define FAKE_FAILURES_H

/* A call of `function` begins: what it has to fail with, or 0. */
int failures_next(const char *function);

#endif
