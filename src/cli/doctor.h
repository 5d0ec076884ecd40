/* doctor: `comfydd doctor`, for a person whose traces do not arrive: goes the way of a span, and says what is wrong where. */
#ifndef COMFYDD_DOCTOR_H
#define COMFYDD_DOCTOR_H

/* The subcommand: `comfydd doctor [-- PYTHON]`. 0: all is well. 1: something is not. Changes nothing that stays. */
int doctor_main(int argc, char **argv);

#endif
