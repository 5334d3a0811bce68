// What a campaign thinks of one of its dials: who accepted it, and whether that one knows where it was meant to go.
#pragma once
#include "dialling.h"
#include <string>
#include <vector>

// Whether ztunnel accepted this one.
bool is_redirected(const DialOutcome &outcome);
// What the first acceptor takes for the destination that was dialled; its own address if it is not a ztunnel.
std::string claimed(const DialOutcome &outcome);
// Whether that is what was dialled.
bool is_right(const DialRequest &request, const DialOutcome &outcome);
std::string describe(const DialRequest &request, const DialOutcome &outcome);

// Counts dials, and keeps the first bad ones.
class Tally {
public:
  void count(const DialRequest &request, const DialOutcome &outcome);
  // {count, ok, redirected, wrongCount, wrong}
  std::string summary() const;

private:
  long count_ = 0, ok_ = 0, redirected_ = 0;
  std::vector<std::string> wrong_;
};

// How many bad cases a summary shows.
constexpr size_t KEPT_CASES = 10;
// A JSON array of items that are JSON.
std::string json_array(const std::vector<std::string> &items);
