// What the servers and the dialler do with sockets; errors name the call.
#pragma once
#include "address.h"
#include "native/descriptor.h"
#include <string>

// How long to wait for what has to happen, in ms: only a defect takes so long (PATIENCE_MS of src/patience.ts).
constexpr long long PATIENCE_MS = 180000;

// Throws std::runtime_error "<what>: <strerror(errno)>".
[[noreturn]] void fail(const std::string &what);
// Waits until fd has one of the poll events; false if the deadline (CLOCK_MONOTONIC, ms) comes first.
bool wait_for(int fd, short events, long long deadline_ms);
long long now_ms();
// Sends everything or gives up at the first error; never raises SIGPIPE.
bool send_all(int fd, std::string_view data);
// Makes close() send RST and free the port at once.
void set_reset_on_close(int fd);
void close_abruptly(Descriptor fd);
