// Converts between JavaScript's arguments and errors and the addon's own.
#include "failure.h"

#include <cmath>

Napi::Error toJavaScript(Napi::Env env, const Failure &failure) {
  Napi::Error error = Napi::Error::New(env, std::string(failure.syscall) + " failed");
  error.Set("errno", Napi::Number::New(env, failure.error));
  error.Set("syscall", Napi::String::New(env, failure.syscall));
  error.Set("object", Napi::String::New(env, failure.object));
  return error;
}

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
