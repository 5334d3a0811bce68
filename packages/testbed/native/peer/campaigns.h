// Thousands of dials by one process, which judges them itself: the only output is a summary.
#pragma once
#include "dialling.h"
#include <string>
#include <vector>

// Makes sequential connections with source ports that are used again and again; returns a JSON summary.
std::string run_source_ports(const std::vector<DialRequest> &targets, uint16_t low, uint16_t high, long count);
// Makes connections in a loop until SIGTERM or the end of the time (0: no limit); returns a JSON summary. "wait N" on
// standard input is answered by a line when N more are over.
std::string run_load(const std::vector<DialRequest> &targets, long long duration_ms, long pause_ms);
