// Makes the seed corpus: real messages of this machine's kernel, as fuzz_parse.cc reads them, and mutations of them.
// Usage (root): build/capture fuzz/corpus, while something forks, execs, exits and changes its ids.
#include "../native/parse.h"
#include "../native/socket.h"
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <poll.h>
#include <string>
#include <sys/socket.h>

using Bytes = std::vector<uint8_t>;

namespace {

constexpr size_t kindOffset = 16 + 20; // behind nlmsghdr and cn_msg
constexpr size_t wantedMessages = 4000;

void append(Bytes &conversation, uint8_t flags, const Bytes &datagram) {
  const auto length = static_cast<uint16_t>(datagram.size());
  conversation.push_back(flags);
  conversation.push_back(length & 0xff);
  conversation.push_back(length >> 8);
  conversation.insert(conversation.end(), datagram.begin(), datagram.end());
}

void save(const std::string &directory, const std::string &name, const Bytes &bytes) {
  std::ofstream(directory + "/" + name, std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 2)
    return std::fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]), 2;
  const std::string directory = argv[1];
  try {
    Parser parser;
    ConnectorSocket socket(8 << 20, 1000, parser);
    std::map<uint32_t, Bytes> byKind;
    std::vector<Bytes> stream;
    for (size_t i = 0; i < wantedMessages; i++) {
      pollfd readable{socket.fd(), POLLIN, 0};
      if (poll(&readable, 1, 3000) <= 0)
        break;
      Bytes datagram(256);
      const ssize_t size = recv(socket.fd(), datagram.data(), datagram.size(), 0);
      if (size < static_cast<ssize_t>(kindOffset + 4))
        continue;
      datagram.resize(static_cast<size_t>(size));
      uint32_t kind;
      std::memcpy(&kind, datagram.data() + kindOffset, sizeof kind);
      byKind.emplace(kind, datagram);
      if (stream.size() < 12)
        stream.push_back(datagram);
    }
    Bytes together, several, gap, cut;
    for (const auto &[kind, datagram] : byKind) {
      char name[32];
      std::snprintf(name, sizeof name, "kind-%08x", kind);
      Bytes one;
      append(one, 0, datagram);
      save(directory, name, one);
      several.insert(several.end(), datagram.begin(), datagram.end());
      append(cut, 0, Bytes(datagram.begin(), datagram.begin() + static_cast<long>(datagram.size() * 2 / 3)));
      append(cut, 1, datagram);
      append(cut, 2, datagram);
    }
    for (size_t i = 0; i < stream.size(); i++) {
      append(together, 0, stream[i]);
      if (i % 3 != 1)
        append(gap, i % 2 == 0 ? 4 : 8, stream[i]);
    }
    save(directory, "stream", together);
    save(directory, "stream-gaps-enobufs", gap);
    save(directory, "cut-foreign-truncated", cut);
    Bytes one;
    append(one, 0, several);
    save(directory, "one-datagram-many-messages", one);
    for (size_t at : {0, 4, 16, 20, 32, 36, 40}) { // nlmsg_len, its type, idx, val, cn_msg.len, kind, cpu
      Bytes damaged = stream.front();
      damaged[at] ^= 0xff;
      one.clear();
      append(one, 0, damaged);
      append(one, 0, stream.back());
      save(directory, "damaged-at-" + std::to_string(at), one);
    }
  } catch (const Failure &failure) {
    return std::fprintf(stderr, "%s: %s\n", failure.syscall, std::strerror(failure.error)), 1;
  }
}
