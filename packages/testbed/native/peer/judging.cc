// See judging.h.
#include "judging.h"
#include "json.h"
#include <cstring>

std::string json_array(const std::vector<std::string> &items) {
  std::string out = "[";
  for (const std::string &item : items)
    out += (out.size() > 1 ? "," : "") + item;
  return out + "]";
}

bool is_redirected(const DialOutcome &outcome) {
  return !outcome.hops.empty() && !field_of(outcome.hops.front(), "originalDst").empty();
}

std::string claimed(const DialOutcome &outcome) {
  return outcome.hops.empty() ? "" : field_of(outcome.hops.front(), is_redirected(outcome) ? "originalDst" : "local");
}

bool is_right(const DialRequest &request, const DialOutcome &outcome) {
  return outcome.error == 0 && claimed(outcome) == to_text(unmapped(request.address));
}

std::string describe(const DialRequest &request, const DialOutcome &outcome) {
  return JsonLine()
      .text("to", request.to)
      .text("from", outcome.socket_name)
      .text("claimed", claimed(outcome))
      .text("error", outcome.error == 0 ? "" : strerrorname_np(outcome.error))
      .raw("hops", json_array(outcome.hops))
      .str();
}

void Tally::count(const DialRequest &request, const DialOutcome &outcome) {
  count_++;
  redirected_ += is_redirected(outcome) ? 1 : 0;
  if (is_right(request, outcome))
    ok_++;
  else if (wrong_.size() < KEPT_CASES)
    wrong_.push_back(describe(request, outcome));
}

std::string Tally::summary() const {
  return JsonLine()
      .number("count", count_)
      .number("ok", ok_)
      .number("redirected", redirected_)
      .number("wrongCount", count_ - ok_)
      .raw("wrong", json_array(wrong_))
      .str();
}
