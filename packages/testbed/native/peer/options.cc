// Command line parsing; see options.h.
#include "options.h"
#include <cstring>
#include <sstream>

Options::Options(int argc, char **argv, const std::set<std::string> &flags) {
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--") == 0) {
      rest_.assign(argv + i + 1, argv + argc);
      break;
    }
    if (strncmp(argv[i], "--", 2) != 0)
      throw std::runtime_error(std::string("unexpected argument '") + argv[i] + "'");
    const std::string key = argv[i] + 2;
    if (flags.count(key) != 0)
      values_.emplace(key, "true");
    else if (i + 1 == argc)
      throw std::runtime_error("--" + key + " needs a value");
    else
      values_.emplace(key, argv[++i]);
  }
}

std::string Options::get(const std::string &key, const std::string &fallback) const {
  const auto found = values_.find(key);
  return found == values_.end() ? fallback : found->second;
}

std::string Options::need(const std::string &key) const {
  if (!has(key))
    throw std::runtime_error("--" + key + " is missing");
  return get(key);
}

long Options::number(const std::string &key, long fallback) const {
  return has(key) ? std::stol(get(key), nullptr, 0) : fallback;
}

std::vector<std::string> Options::all(const std::string &key) const {
  std::vector<std::string> out;
  const auto range = values_.equal_range(key);
  for (auto it = range.first; it != range.second; ++it)
    out.push_back(it->second);
  return out;
}

std::vector<uint16_t> parse_ports(const std::string &text) {
  std::vector<uint16_t> ports;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    const unsigned long port = std::stoul(part);
    if (port == 0 || port > UINT16_MAX)
      throw std::runtime_error("'" + part + "' is not a port");
    ports.push_back(static_cast<uint16_t>(port));
  }
  return ports;
}
