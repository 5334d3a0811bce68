// A mutex, not a lock-free queue: it is taken once per batch, never per event.
#include "ring.h"
#include <algorithm>

bool Ring::push(const std::vector<Record> &records) {
  if (records.empty())
    return false;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Record &record : records) {
    if (!dropping_ && count_ < slots_.size()) {
      slots_[(first_ + count_) % slots_.size()] = record;
      count_++;
      continue;
    }
    uint64_t worth = 1;
    if (record.kind == kindOverrun) { // its count stands for what it replaces
      worth = record.args[2];
      droppedUnknown_ = droppedUnknown_ || record.args[1] == 0;
    }
    dropping_ = true;
    dropped_ += worth;
    lost_ += worth;
  }
  if (woken_)
    return false;
  woken_ = true;
  return true;
}

std::vector<Record> Ring::take(size_t max, uint64_t nowNs, bool &more) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Record> taken;
  const size_t wanted = std::min(max, count_);
  taken.reserve(wanted + 1);
  for (size_t i = 0; i < wanted; i++)
    taken.push_back(slots_[(first_ + i) % slots_.size()]);
  first_ = (first_ + wanted) % slots_.size();
  count_ -= wanted;
  if (count_ == 0 && dropping_) {
    taken.push_back(makeOverrun(causeRing, unknownCpu, nowNs, !droppedUnknown_, dropped_));
    dropping_ = droppedUnknown_ = false;
    dropped_ = 0;
  }
  more = count_ > 0;
  if (!more)
    woken_ = false;
  return taken;
}

uint64_t Ring::lost() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return lost_;
}
