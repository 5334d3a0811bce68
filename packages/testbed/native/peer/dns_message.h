// The part of the DNS wire format (RFC 1035) that a question for one address and its answer need.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

constexpr uint16_t DNS_TYPE_A = 1, DNS_TYPE_AAAA = 28;

struct DnsQuestion {
  uint16_t id = 0;
  std::string name; // "a.example", without the last dot
  uint16_t type = 0;
};

std::string encode_question(const DnsQuestion &question);
// The first question of a query; nothing if the bytes are not a query.
std::optional<DnsQuestion> decode_question(std::string_view message);
// `address` in network byte order, 4 or 16 bytes; empty if the name exists and has nothing of that type.
std::string encode_answer(const DnsQuestion &question, std::string_view address);
struct DnsAnswer {
  uint16_t id = 0;
  std::string address; // the first A or AAAA as text; empty if there is none
};
std::optional<DnsAnswer> decode_answer(std::string_view message);
