/* unit: what every cmocka test needs, in the order cmocka wants its headers. */
#ifndef COMFYDD_UNIT_H
#define COMFYDD_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
