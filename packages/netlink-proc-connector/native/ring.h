// The bounded queue between the reader thread and JavaScript. It never grows and never makes the reader wait.
#pragma once
#include "record.h"
#include <mutex>
#include <vector>

class Ring {
public:
  explicit Ring(size_t capacity) : slots_(capacity) {}

  // Adds what fits. When something does not fit, everything is dropped (and counted) until the queue has been emptied:
  // the consumer has to resynchronise anyway, and one long overrun costs it less than many short ones. True if
  // JavaScript must be woken, because it does not know yet that there is something to take.
  bool push(const std::vector<Record> &records);

  // Takes up to max records, oldest first, and after the last one the overrun record if something was dropped. more
  // tells whether there is anything left; if not, the next push() asks for a wake again.
  std::vector<Record> take(size_t max, uint64_t nowNs, bool &more);

  uint64_t lost() const;

private:
  mutable std::mutex mutex_;
  std::vector<Record> slots_;
  size_t first_ = 0;
  size_t count_ = 0;
  bool dropping_ = false;
  bool droppedUnknown_ = false; // one of the dropped records was an overrun of unknown size
  uint64_t dropped_ = 0;        // since the last overrun record
  uint64_t lost_ = 0;           // in total
  bool woken_ = false;
};
