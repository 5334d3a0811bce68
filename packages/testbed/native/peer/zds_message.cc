// See zds_message.h. These messages use varints and length-delimited fields of the wire format
// (protobuf.dev/programming-guides/encoding).
#include "zds_message.h"
#include <cstdint>
#include <stdexcept>

namespace {
enum Wire : uint64_t { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };
constexpr uint64_t VERSION_V1 = 1;

struct Field {
  uint64_t number = 0, wire = 0;
  std::string_view bytes; // of a length-delimited field
};

class Reader {
public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  // False at the end.
  bool next(Field &field) {
    if (rest_.empty())
      return false;
    const uint64_t tag = varint();
    field = {tag >> 3, tag & 7, {}};
    switch (field.wire) {
    case VARINT:
      varint();
      return true;
    case FIXED64:
      take(8);
      return true;
    case LENGTH:
      field.bytes = take(varint());
      return true;
    case FIXED32:
      take(4);
      return true;
    default:
      throw std::runtime_error("wire type " + std::to_string(field.wire));
    }
  }

private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0)
        return value;
    }
    throw std::runtime_error("a number that does not end");
  }

  std::string_view take(uint64_t size) {
    if (size > rest_.size())
      throw std::runtime_error("the message is cut off");
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
};

std::string_view bytes_of(const Field &field) {
  if (field.wire != LENGTH)
    throw std::runtime_error("field " + std::to_string(field.number) + " has wire type " + std::to_string(field.wire));
  return field.bytes;
}

// The text of one field of a message; the last one counts.
std::string text_of(std::string_view message, uint64_t number) {
  std::string text;
  Reader reader(message);
  for (Field field; reader.next(field);)
    if (field.number == number)
      text = bytes_of(field);
  return text;
}

void read_add(std::string_view message, ZdsRequest &request) {
  request.uid = text_of(message, 1);
  Reader reader(message);
  for (Field field; reader.next(field);) {
    if (field.number != 2)
      continue;
    const std::string_view info = bytes_of(field);
    request.has_info = true;
    request.name = text_of(info, 1);
    request.workload_namespace = text_of(info, 2);
    request.service_account = text_of(info, 3);
  }
}

void put_varint(std::string &out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_bytes(std::string &out, uint64_t number, std::string_view bytes) {
  put_varint(out, number << 3 | LENGTH);
  put_varint(out, bytes.size());
  out += bytes;
}
} // namespace

ZdsRequest decode_request(std::string_view bytes) {
  bool found = false;
  ZdsRequest request;
  Reader reader(bytes);
  for (Field field; reader.next(field);) {
    if (field.number != 1 && field.number != 2 && field.number != 3 && field.number != 5)
      continue;
    found = true;
    request = {};
    const std::string_view message = bytes_of(field);
    switch (field.number) {
    case 1:
      request.kind = ZdsRequest::Kind::add;
      read_add(message, request);
      break;
    case 2:
      request.kind = ZdsRequest::Kind::del;
      request.uid = text_of(message, 2);
      break;
    case 3:
      request.kind = ZdsRequest::Kind::snapshot_sent;
      text_of(message, 0); // it has no fields; anything in it must be readable
      break;
    default:
      request.kind = ZdsRequest::Kind::keep;
      request.uid = text_of(message, 1);
    }
  }
  if (!found)
    throw std::runtime_error("no payload");
  return request;
}

std::string encode_hello() {
  std::string out;
  put_varint(out, 1 << 3 | VARINT);
  put_varint(out, VERSION_V1);
  return out;
}

std::string encode_ack(const std::string &error) {
  std::string ack, out;
  if (!error.empty())
    put_bytes(ack, 1, error);
  put_bytes(out, 1, ack);
  return out;
}
