// rtnetlink messages as bytes: builds a request, and walks the kernel's answer. It uses no sockets, so that it can be
// fuzzed. Layout: netlink(7), rtnetlink(7), linux/netlink.h. All integers are in host order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

// One request with its attributes. `Body` is the fixed part that the message type has (fib_rule_hdr, rtmsg, tcmsg).
class NetlinkRequest {
public:
  template <typename Body> NetlinkRequest(uint16_t type, uint16_t flags, const Body &body) {
    begin(type, flags, &body, sizeof(body));
  }

  void add(uint16_t type, const void *value, size_t size);
  void addU32(uint16_t type, uint32_t value) { add(type, &value, sizeof(value)); }
  void addU8(uint16_t type, uint8_t value) { add(type, &value, sizeof(value)); }
  // Includes the NUL at its end.
  void addText(uint16_t type, const std::string &text) { add(type, text.c_str(), text.size() + 1); }
  // What is added between these two calls is inside the attribute.
  size_t beginNested(uint16_t type);
  void endNested(size_t begin);

  // Writes the length and the sequence number; the result lives as long as the request.
  const std::vector<uint8_t> &finish(uint32_t sequence);

private:
  void begin(uint16_t type, uint16_t flags, const void *body, size_t size);
  void pad();

  std::vector<uint8_t> bytes_;
};

// One message or attribute of an answer. `value` points into the answer and is not aligned.
struct NetlinkItem {
  uint16_t type;
  const uint8_t *value;
  size_t size;
};

// Copies a fixed-size head from bytes that may be too short or not aligned.
template <typename T> bool copyHead(const uint8_t *data, size_t size, T &out) {
  if (size < sizeof(T))
    return false;
  std::memcpy(&out, data, sizeof(T));
  return true;
}

// The value of an integer attribute, which must have exactly that length.
template <typename T> bool copyExactly(const NetlinkItem &item, T &out) {
  return item.size == sizeof(T) && copyHead(item.value, item.size, out);
}

// A text attribute, with or without a NUL at its end.
std::string textOf(const NetlinkItem &item);

// Calls `visit` for every attribute, with the flag bits of its type removed. False if a length does not fit, or as soon
// as `visit` returns false.
bool forEachAttribute(const uint8_t *data, size_t size, const std::function<bool(const NetlinkItem &)> &visit);

enum class AnswerState {
  More,        // every message was read; the answer goes on in the next datagram
  Done,        // NLMSG_DONE, or an acknowledgement
  Failed,      // an error: see `error` and `text`
  Interrupted, // the tables changed during a dump, or NLMSG_OVERRUN: ask again
  Malformed,   // a length that does not fit; nothing after it can be trusted
};

struct Answer {
  AnswerState state;
  int error = 0;    // positive errno when Failed
  std::string text; // the kernel's own words (NLMSGERR_ATTR_MSG), often empty
};

// Reads one datagram. Messages of another sequence number are skipped; `visit` gets all others except control messages,
// and returns false if one is malformed.
Answer readAnswer(const uint8_t *data, size_t size, uint32_t sequence,
                  const std::function<bool(const NetlinkItem &)> &visit);
