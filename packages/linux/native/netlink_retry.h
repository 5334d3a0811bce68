// How often a dump is asked for that the kernel could not give in one piece.
#pragma once

#include <ctime>

// Tables that change during every one of this many dumps will not settle.
constexpr int dumpAttempts = 8;

// Before the attempt with this number, counted from 1: what disturbs a dump may take a moment. A pod that changes its
// tables all the time must not keep its reader for long.
inline void pauseBefore(int attempt) {
  constexpr timespec millisecond = {0, 1'000'000};
  if (attempt > 1)
    nanosleep(&millisecond, nullptr);
}
