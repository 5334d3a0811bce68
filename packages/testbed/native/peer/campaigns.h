// Thousands of dials by one process, judged here, with a summary as the only output.
#pragma once
#include "dialling.h"
#include <string>
#include <vector>

// Sequential connections whose source ports come round and round; returns a JSON summary.
std::string run_source_ports(const std::vector<DialRequest> &targets, uint16_t low, uint16_t high, long count);
// Connections in a loop until SIGTERM or the end of the time (0 = none); returns a JSON summary. "wait N" on standard
// input is answered by a line when N more are over.
std::string run_load(const std::vector<DialRequest> &targets, long long duration_ms, long pause_ms);
