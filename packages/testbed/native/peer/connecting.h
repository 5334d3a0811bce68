// The ways in which a program can connect a socket, and the kernel's result for each.
#pragma once
#include "sockets.h"
#include <string>
#include <string_view>

enum class Method { plain, nonblock, fastopen, fastopen_connect, iouring, mptcp, udp };

// Throws std::runtime_error for an unknown name.
Method method_of(const std::string &name);
// The socket that the method needs, for this address family; below 0, with errno set, if the kernel has none.
Descriptor socket_for(Method method, int family);
// 0 or an errno. The two fast-open methods also send the first byte of data.
int connect_by(Method method, int fd, const Address &to, long long deadline_ms);
// IORING_OP_CONNECT on a ring of its own, by raw system calls (io_uring_enter(2)).
int connect_by_iouring(int fd, const Address &to, long long deadline_ms);
