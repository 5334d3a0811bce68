// Reads the arguments of a call from JavaScript. One of a wrong type is refused with a TypeError that names it.
#pragma once

#include <napi.h>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

struct Bytes {
  uint8_t *data;
  size_t length;
};

inline Napi::TypeError wrongArgument(Napi::Env env, size_t index, const char *wanted) {
  return Napi::TypeError::New(env, "argument " + std::to_string(index) + " must be " + wanted);
}

// Whole numbers only: Node-API would silently turn 1.5 into 1 and -1 into 4294967295.
template <typename Number> Number wholeNumber(const Napi::CallbackInfo &info, size_t index, const char *wanted) {
  if (!info[index].IsNumber())
    throw wrongArgument(info.Env(), index, wanted);
  double value = info[index].As<Napi::Number>().DoubleValue();
  // Compared as doubles, which hold every 32-bit integer exactly; false for NaN.
  bool inRange = value >= std::numeric_limits<Number>::min() && value <= std::numeric_limits<Number>::max();
  if (!inRange || value != std::trunc(value))
    throw wrongArgument(info.Env(), index, wanted);
  return static_cast<Number>(value);
}

inline int intArgument(const Napi::CallbackInfo &info, size_t index) {
  return wholeNumber<int>(info, index, "a 32-bit integer");
}

inline uint32_t uintArgument(const Napi::CallbackInfo &info, size_t index) {
  return wholeNumber<uint32_t>(info, index, "an integer from 0 to 4294967295");
}

inline std::string stringArgument(const Napi::CallbackInfo &info, size_t index) {
  if (!info[index].IsString())
    throw wrongArgument(info.Env(), index, "a string");
  return info[index].As<Napi::String>().Utf8Value();
}

// A Uint8Array (a Buffer is one). The memory belongs to JavaScript and stays valid for the call.
inline Bytes bytesArgument(const Napi::CallbackInfo &info, size_t index) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw wrongArgument(info.Env(), index, "a Uint8Array");
  auto array = info[index].As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

// Like bytesArgument, for a length that the kernel will read or write without checking it.
inline Bytes sizedBytesArgument(const Napi::CallbackInfo &info, size_t index, size_t length) {
  Bytes bytes = bytesArgument(info, index);
  if (bytes.length != length)
    throw Napi::RangeError::New(info.Env(), "argument " + std::to_string(index) + " has " +
                                                std::to_string(bytes.length) + " bytes where " +
                                                std::to_string(length) + " are needed");
  return bytes;
}

// undefined and null stand for "not given".
inline bool isGiven(const Napi::CallbackInfo &info, size_t index) {
  return info.Length() > index && !info[index].IsUndefined() && !info[index].IsNull();
}
