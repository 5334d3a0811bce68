// The ways in which a program can connect a socket, and what the kernel says of each.
#pragma once
#include "sockets.h"
#include <string>
#include <string_view>

enum class Method { plain, nonblock, fastopen, fastopen_connect, iouring, mptcp, udp };

// Throws std::runtime_error for a name that is none.
Method method_of(const std::string &name);
// The socket that the method needs, for this address family; below 0 with errno set when the kernel has none.
Descriptor socket_for(Method method, int family);
// 0 or an errno. For the two fast-open methods the first byte of data is part of it.
int connect_by(Method method, int fd, const Address &to, long long deadline_ms);
// IORING_OP_CONNECT on a ring of its own, by raw system calls (io_uring_enter(2)).
int connect_by_iouring(int fd, const Address &to, long long deadline_ms);
