// One flat JSON object on one line, written field by field.
#pragma once
#include <string>
#include <string_view>

class JsonLine {
public:
  JsonLine &text(std::string_view key, std::string_view value);
  JsonLine &number(std::string_view key, long long value);
  JsonLine &boolean(std::string_view key, bool value);
  // A value that is already JSON.
  JsonLine &raw(std::string_view key, std::string_view json);
  std::string str() const { return body_ + "}"; }

private:
  void key(std::string_view name);
  std::string body_ = "{";
};

std::string json_string(std::string_view value);
// The string after "key":" in one of our own lines; empty if it is not there. It suffices for lines without escapes.
std::string field_of(const std::string &line, const std::string &key);
