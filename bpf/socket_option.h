/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Socket options that the programs set; <sys/socket.h> is not for BPF. */
#ifndef SLUICE_SOCKET_OPTION_H
#define SLUICE_SOCKET_OPTION_H

/* asm-generic/socket.h: SOL_SOCKET, SO_REUSEADDR, SO_REUSEPORT, SO_MARK, SO_BINDTOIFINDEX. */
#define LEVEL_SOCKET  1
#define REUSE_ADDRESS 2
#define REUSE_PORT    15
#define SOCKET_MARK   36
#define BOUND_DEVICE  62

/* linux/in.h and linux/tcp.h: SOL_TCP, TCP_SYNCNT. */
#define LEVEL_TCP 6
#define SYN_COUNT 7

#endif
