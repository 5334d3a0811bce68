// peer dial: the client of a pod. It dials once, or as its standard input asks, or in long campaigns.
#include "campaigns.h"
#include "commands.h"
#include "dialling.h"
#include "json.h"
#include "options.h"
#include <cstdio>
#include <iostream>
#include <map>
#include <sstream>

namespace {
using Words = std::map<std::string, std::string>;

DialRequest request_of(const std::string &to, const Words &words) {
  const auto get = [&words](const char *key) {
    const auto found = words.find(key);
    return found == words.end() ? std::string() : found->second;
  };
  DialRequest request;
  request.to = to;
  request.address = parse_address(to);
  if (!get("method").empty())
    request.method_name = get("method");
  request.method = method_of(request.method_name);
  if (!get("bind").empty())
    request.bind = parse_address(get("bind"));
  if (!get("second").empty()) {
    request.second_text = get("second");
    request.second = parse_address(request.second_text);
  }
  if (!get("beside").empty()) {
    request.beside_text = get("beside");
    request.beside = parse_address(request.beside_text);
  }
  request.device = get("device");
  request.transparent = get("transparent") == "true";
  request.late_port = get("latePort") == "true";
  if (!get("mark").empty())
    request.mark = std::stoi(get("mark"), nullptr, 0);
  if (!get("timeout").empty())
    request.timeout_ms = std::stoll(get("timeout"));
  return request;
}

// One request per line, of key=value words: "to=10.66.1.2:80 method=nonblock".
int serve_stdin() {
  puts("ready");
  fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    Words words;
    std::istringstream in(line);
    for (std::string word; in >> word;) {
      const size_t equals = word.find('=');
      if (equals != std::string::npos)
        words[word.substr(0, equals)] = word.substr(equals + 1);
    }
    std::string answer;
    try {
      answer = dial_as_json(request_of(words["to"], words));
    } catch (const std::exception &error) {
      answer = JsonLine().text("fault", error.what()).str();
    }
    puts(answer.c_str());
    fflush(stdout);
  }
  return 0;
}
} // namespace

int run_dial(int argc, char **argv) {
  const Options options(argc, argv, {"stdin", "load"});
  if (options.has("stdin"))
    return serve_stdin();
  options.need("to");
  Words words;
  for (const char *key : {"method", "bind", "second", "beside", "device", "mark", "timeout"})
    if (options.has(key))
      words[key] = options.get(key);
  std::vector<DialRequest> targets;
  for (const std::string &to : options.all("to"))
    targets.push_back(request_of(to, words));

  const long count = options.number("count", 1);
  if (options.has("load")) {
    puts(run_load(targets, options.number("duration", 0), options.number("pause", 0)).c_str());
  } else if (options.has("source-ports")) {
    const std::string range = options.get("source-ports");
    const size_t dash = range.find('-');
    if (dash == std::string::npos)
      throw std::runtime_error("--source-ports wants LO-HI");
    const auto low = static_cast<uint16_t>(std::stoul(range.substr(0, dash)));
    const auto high = static_cast<uint16_t>(std::stoul(range.substr(dash + 1)));
    if (low == 0 || high < low)
      throw std::runtime_error("--source-ports wants LO-HI");
    puts(run_source_ports(targets, low, high, count).c_str());
  } else {
    for (long i = 0; i < count; i++)
      for (const DialRequest &target : targets)
        puts(dial_as_json(target).c_str());
  }
  return 0;
}
