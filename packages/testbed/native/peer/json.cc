// The JSON that the peer writes, and the little that it reads; see json.h.
#include "json.h"
#include <cstdio>

std::string json_string(std::string_view value) {
  std::string out = "\"";
  for (const unsigned char c : value) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      char escape[8];
      snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

void JsonLine::key(std::string_view name) {
  if (body_.size() > 1)
    body_ += ',';
  body_ += json_string(name);
  body_ += ':';
}

JsonLine &JsonLine::text(std::string_view name, std::string_view value) {
  return raw(name, json_string(value));
}
JsonLine &JsonLine::number(std::string_view name, long long value) {
  return raw(name, std::to_string(value));
}
JsonLine &JsonLine::boolean(std::string_view name, bool value) {
  return raw(name, value ? "true" : "false");
}

JsonLine &JsonLine::raw(std::string_view name, std::string_view json) {
  key(name);
  body_ += json;
  return *this;
}

std::string field_of(const std::string &line, const std::string &key) {
  const std::string opening = "\"" + key + "\":\"";
  const size_t start = line.find(opening);
  if (start == std::string::npos)
    return "";
  const size_t from = start + opening.size();
  const size_t end = line.find('"', from);
  return end == std::string::npos ? "" : line.substr(from, end - from);
}
