// The command line of a subcommand: "--key value", "--flag", and what comes after "--".
#pragma once
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

class Options {
public:
  // flags: the names that have no value. Throws std::runtime_error for anything that is not an option.
  Options(int argc, char **argv, const std::set<std::string> &flags);

  bool has(const std::string &key) const { return values_.count(key) != 0; }
  std::string get(const std::string &key, const std::string &fallback = "") const;
  std::string need(const std::string &key) const;
  long number(const std::string &key, long fallback) const;
  std::vector<std::string> all(const std::string &key) const;
  const std::vector<char *> &rest() const { return rest_; }

private:
  std::multimap<std::string, std::string> values_;
  std::vector<char *> rest_;
};

// "15001,15006" as numbers.
std::vector<uint16_t> parse_ports(const std::string &text);
