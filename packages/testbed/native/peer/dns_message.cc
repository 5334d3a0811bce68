// See dns_message.h.
#include "dns_message.h"
#include <arpa/inet.h>
#include <sstream>

namespace {
constexpr size_t HEADER = 12;
constexpr uint16_t FLAG_RESPONSE = 0x8000, FLAG_RECURSION_DESIRED = 0x0100, FLAG_RECURSION_AVAILABLE = 0x0080;
constexpr uint16_t CLASS_IN = 1;
constexpr uint32_t TTL_SECONDS = 1; // nobody should cache it
constexpr uint8_t POINTER = 0xc0;   // RFC 1035, 4.1.4

void put16(std::string &out, uint16_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value & 0xff);
}

uint8_t byte_at(std::string_view message, size_t at) {
  return static_cast<uint8_t>(message[at]);
}

uint16_t get16(std::string_view message, size_t at) {
  return static_cast<uint16_t>(byte_at(message, at) << 8 | byte_at(message, at + 1));
}

std::string header(uint16_t id, uint16_t flags, uint16_t answers) {
  std::string out;
  for (const uint16_t value : {id, flags, uint16_t{1}, answers, uint16_t{0}, uint16_t{0}})
    put16(out, value);
  return out;
}

std::string question_section(const DnsQuestion &question) {
  std::string out;
  std::istringstream labels(question.name);
  for (std::string label; std::getline(labels, label, '.');) {
    out += static_cast<char>(label.size());
    out += label;
  }
  out += '\0';
  put16(out, question.type);
  put16(out, CLASS_IN);
  return out;
}

// Where the name that starts at `at` ends; 0 if it does not end. `name` gets the labels before a pointer.
size_t read_name(std::string_view message, size_t at, std::string &name) {
  while (at < message.size()) {
    const uint8_t length = byte_at(message, at);
    if (length == 0)
      return at + 1;
    if ((length & POINTER) == POINTER)
      return at + 2;
    if (at + 1 + length > message.size())
      return 0;
    name += (name.empty() ? "" : ".") + std::string(message.substr(at + 1, length));
    at += 1 + length;
  }
  return 0;
}
} // namespace

std::string encode_question(const DnsQuestion &question) {
  return header(question.id, FLAG_RECURSION_DESIRED, 0) + question_section(question);
}

std::optional<DnsQuestion> decode_question(std::string_view message) {
  if (message.size() < HEADER || (get16(message, 2) & FLAG_RESPONSE) != 0 || get16(message, 4) == 0)
    return std::nullopt;
  DnsQuestion question;
  question.id = get16(message, 0);
  const size_t end = read_name(message, HEADER, question.name);
  if (end == 0 || end + 4 > message.size())
    return std::nullopt;
  question.type = get16(message, end);
  return question;
}

std::string encode_answer(const DnsQuestion &question, std::string_view address) {
  const uint16_t flags = FLAG_RESPONSE | FLAG_RECURSION_DESIRED | FLAG_RECURSION_AVAILABLE;
  std::string out = header(question.id, flags, address.empty() ? 0 : 1) + question_section(question);
  if (address.empty())
    return out;
  put16(out, static_cast<uint16_t>(POINTER << 8 | HEADER)); // the name of the question
  put16(out, question.type);
  put16(out, CLASS_IN);
  put16(out, 0);
  put16(out, TTL_SECONDS);
  put16(out, static_cast<uint16_t>(address.size()));
  out += address;
  return out;
}

std::optional<DnsAnswer> decode_answer(std::string_view message) {
  if (message.size() < HEADER || (get16(message, 2) & FLAG_RESPONSE) == 0)
    return std::nullopt;
  DnsAnswer answer;
  answer.id = get16(message, 0);
  std::string name;
  size_t at = HEADER;
  for (uint16_t left = get16(message, 4); left > 0; left--) {
    at = read_name(message, at, name);
    if (at == 0)
      return std::nullopt;
    at += 4;
  }
  for (uint16_t left = get16(message, 6); left > 0; left--) {
    at = read_name(message, at, name);
    if (at == 0 || at + 10 > message.size())
      return std::nullopt;
    const uint16_t type = get16(message, at), length = get16(message, at + 8);
    at += 10;
    if (at + length > message.size())
      return std::nullopt;
    char text[INET6_ADDRSTRLEN] = "";
    if ((type == DNS_TYPE_A && length == 4) || (type == DNS_TYPE_AAAA && length == 16)) {
      inet_ntop(length == 4 ? AF_INET : AF_INET6, message.data() + at, text, sizeof text);
      answer.address = text;
      return answer;
    }
    at += length;
  }
  return answer;
}
