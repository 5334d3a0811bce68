// See arguments.h.
#include "arguments.h"

#include <cmath>

std::string textArgument(const Napi::CallbackInfo &info, size_t index, const char *name) {
  if (!info[index].IsString())
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a string");
  std::string text = info[index].As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos)
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must not contain a NUL byte");
  return text;
}

int64_t integerArgument(const Napi::CallbackInfo &info, size_t index, const char *name, int64_t minimum,
                        int64_t maximum) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : NAN;
  if (!(value >= static_cast<double>(minimum) && value <= static_cast<double>(maximum)) || std::floor(value) != value)
    throw Napi::RangeError::New(info.Env(), std::string(name) + " must be an integer from " + std::to_string(minimum) +
                                                " to " + std::to_string(maximum));
  return static_cast<int64_t>(value);
}
