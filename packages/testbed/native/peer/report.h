// What a server writes to its standard output: one whole line at a time, from any thread.
#pragma once
#include <string>

void report(const std::string &line);
