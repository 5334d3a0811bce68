/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Loads from a program's context that clang must not rearrange. */
#ifndef SLUICE_CONTEXT_H
#define SLUICE_CONTEXT_H

/* Pins a load where it stands: clang would sink the last load of both families into one through a computed context
 * pointer, which the verifier refuses. */
#define CONTEXT(field)                                                                                                 \
  ({                                                                                                                   \
    __u32 value_ = ctx->field;                                                                                         \
    asm volatile("# " #field : "+r"(value_));                                                                          \
    value_;                                                                                                            \
  })

#endif
