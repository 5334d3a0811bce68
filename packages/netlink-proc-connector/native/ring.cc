// A mutex, not a lock-free queue: it is taken once per batch, never per event.
#include "ring.h"
#include <algorithm>

namespace sluice {

bool Ring::Push(const std::vector<Record> &records) {
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
    if (record.kind == kOverrun) { // stands for what it counted
      worth = record.args[2];
      dropped_unknown_ = dropped_unknown_ || record.args[1] == 0;
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

std::vector<Record> Ring::Take(size_t max, uint64_t now_ns, bool &more) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Record> taken;
  const size_t wanted = std::min(max, count_);
  taken.reserve(wanted + 1);
  for (size_t i = 0; i < wanted; i++)
    taken.push_back(slots_[(first_ + i) % slots_.size()]);
  first_ = (first_ + wanted) % slots_.size();
  count_ -= wanted;
  if (count_ == 0 && dropping_) {
    taken.push_back(MakeOverrun(kCauseRing, kUnknownCpu, now_ns, !dropped_unknown_, dropped_));
    dropping_ = dropped_unknown_ = false;
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

} // namespace sluice
