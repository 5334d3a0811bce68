// The N-API surface: Connector (socket, thread and ring) and Parser (for the tests). Options come normalised from
// JavaScript (src/connector.ts); errors go back with code, errno and syscall.
#include "native/javascript_error.h"
#include "reader.h"
#include <cstring>
#include <napi.h>

namespace {

// Records per call into JavaScript: large enough to be cheap, small enough to let timers and other I/O run in between.
constexpr size_t recordsPerBatch = 4096;

Napi::ArrayBuffer toBuffer(Napi::Env env, const std::vector<Record> &records) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, records.size() * recordBytes);
  if (!records.empty())
    std::memcpy(buffer.Data(), records.data(), records.size() * recordBytes);
  return buffer;
}

void setCount(Napi::Object &object, const char *name, uint64_t value) {
  object.Set(name, Napi::Number::New(object.Env(), static_cast<double>(value)));
}

Napi::Object parseCountersToJavaScript(Napi::Env env, const ParseCounters &counters) {
  Napi::Object object = Napi::Object::New(env);
  setCount(object, "messages", counters.messages);
  setCount(object, "foreign", counters.foreign);
  setCount(object, "truncated", counters.truncated);
  setCount(object, "malformed", counters.malformed);
  setCount(object, "unexpectedType", counters.unexpectedType);
  setCount(object, "unknownKind", counters.unknownKind);
  setCount(object, "outOfOrder", counters.outOfOrder);
  setCount(object, "gaps", counters.gaps);
  setCount(object, "lost", counters.lost);
  return object;
}

int32_t intOption(const Napi::Object &options, const char *name) {
  return options.Get(name).As<Napi::Number>().Int32Value();
}

// What a wake needs. It lives until the last wake is over, even if the Connector has been collected by then.
struct Channel {
  std::unique_ptr<Reader> reader; // empty once closed
};

// new Connector({receiveBufferBytes, ackTimeoutMs, lingerMs, kindMask, ringRecords}, (batch: ArrayBuffer, more:
// boolean) => void)
class Connector : public Napi::ObjectWrap<Connector> {
public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Connector",
                       {InstanceMethod<&Connector::take>("take"), InstanceMethod<&Connector::stats>("stats"),
                        InstanceMethod<&Connector::close>("close")});
  }

  explicit Connector(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Connector>(info) {
    const Napi::Env env = info.Env();
    const auto options = info[0].As<Napi::Object>();
    ReaderOptions native;
    native.receiveBufferBytes = intOption(options, "receiveBufferBytes");
    native.ackTimeoutMs = intOption(options, "ackTimeoutMs");
    native.lingerMs = intOption(options, "lingerMs");
    native.kindMask = options.Get("kindMask").As<Napi::Number>().Uint32Value();
    native.ringRecords = options.Get("ringRecords").As<Napi::Number>().Uint32Value();
    // A queue of one is enough: the ring asks for a wake only when none is under way.
    wake_ = Wake::New(
        env, info[1].As<Napi::Function>(), "proc-connector", 1, 1, new std::shared_ptr<Channel>(channel_),
        [](Napi::Env, void *, std::shared_ptr<Channel> *context) { delete context; }, static_cast<void *>(nullptr));
    try {
      channel_->reader = std::make_unique<Reader>(native, [wake = wake_]() mutable { wake.NonBlockingCall(); });
    } catch (const Failure &failure) {
      wake_.Release();
      throw toJavaScript(env, failure);
    }
    // Runs before the thread-safe function's own hook (last in, first out), so that the thread is gone before it is.
    napi_add_env_cleanup_hook(env, &Connector::atExit, this);
    env_ = env;
    hooked_ = true;
  }

  ~Connector() override { shut(); }

private:
  static void onWake(Napi::Env env, Napi::Function callback, std::shared_ptr<Channel> *context, void *) {
    // A null env means that the environment is going down. The reader is gone if a wake was under way at close().
    if (env == nullptr || (*context)->reader == nullptr)
      return;
    bool more = false;
    const std::vector<Record> records = (*context)->reader->take(recordsPerBatch, more);
    if (records.empty())
      return;
    try {
      callback.Call({toBuffer(env, records), Napi::Boolean::New(env, more)});
    } catch (const Napi::Error &error) {
      // What onBatch throws becomes an uncaught exception. An empty error means that the environment is being
      // terminated.
      if (!error.IsEmpty())
        napi_fatal_exception(env, error.Value());
    }
  }
  using Wake = Napi::TypedThreadSafeFunction<std::shared_ptr<Channel>, void, &Connector::onWake>;

  static void atExit(void *self) {
    auto *connector = static_cast<Connector *>(self);
    connector->hooked_ = false;
    connector->shut();
  }

  void shut() {
    if (channel_->reader == nullptr)
      return;
    if (hooked_)
      napi_remove_env_cleanup_hook(env_, &Connector::atExit, this);
    hooked_ = false;
    channel_->reader->close();
    last_ = channel_->reader->stats();
    channel_->reader.reset();
    wake_.Release();
  }

  // Takes the next batch, after one for which `more` was true.
  Napi::Value take(const Napi::CallbackInfo &info) {
    bool more = false;
    std::vector<Record> records;
    if (channel_->reader != nullptr)
      records = channel_->reader->take(recordsPerBatch, more);
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("batch", toBuffer(info.Env(), records));
    result.Set("more", more);
    return result;
  }

  Napi::Value stats(const Napi::CallbackInfo &info) {
    const ReaderStats stats = channel_->reader == nullptr ? last_ : channel_->reader->stats();
    Napi::Object object = parseCountersToJavaScript(info.Env(), stats.parse);
    setCount(object, "enobufs", stats.enobufs);
    setCount(object, "receiveErrors", stats.receiveErrors);
    setCount(object, "ringLost", stats.ringLost);
    setCount(object, "receiveBufferBytes", static_cast<uint64_t>(stats.receiveBufferBytes));
    return object;
  }

  void close(const Napi::CallbackInfo &) { shut(); }

  std::shared_ptr<Channel> channel_ = std::make_shared<Channel>();
  Wake wake_;
  napi_env env_ = nullptr;
  bool hooked_ = false;
  ReaderStats last_;
};

// The parser by itself, so that its unit tests need no root: feed(datagram, senderPort, truncated) -> records.
class TestParser : public Napi::ObjectWrap<TestParser> {
public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Parser",
                       {InstanceMethod<&TestParser::feed>("feed"),
                        InstanceMethod<&TestParser::noteSocketOverrun>("noteSocketOverrun"),
                        InstanceMethod<&TestParser::flushSocketOverrun>("flushSocketOverrun"),
                        InstanceMethod<&TestParser::counters>("counters")});
  }
  explicit TestParser(const Napi::CallbackInfo &info) : Napi::ObjectWrap<TestParser>(info) {}

private:
  Napi::Value feed(const Napi::CallbackInfo &info) {
    const auto bytes = info[0].As<Napi::Uint8Array>();
    std::vector<Record> records;
    parser_.feed(bytes.Data(), bytes.ByteLength(), info[1].As<Napi::Number>().Uint32Value(),
                 info[2].As<Napi::Boolean>().Value(), records);
    return toBuffer(info.Env(), records);
  }
  void noteSocketOverrun(const Napi::CallbackInfo &) { parser_.noteSocketOverrun(); }
  Napi::Value flushSocketOverrun(const Napi::CallbackInfo &info) {
    std::vector<Record> records;
    parser_.flushSocketOverrun(monotonicNs(), records);
    return toBuffer(info.Env(), records);
  }
  Napi::Value counters(const Napi::CallbackInfo &info) {
    return parseCountersToJavaScript(info.Env(), parser_.counters());
  }
  Parser parser_;
};

// How far CLOCK_BOOTTIME (start times in /proc) is ahead of CLOCK_MONOTONIC (timestamps of events), in nanoseconds: the
// time during which the machine was suspended.
Napi::Value suspendedNs(const Napi::CallbackInfo &info) {
  timespec boot, monotonic;
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  const int64_t ns = (boot.tv_sec - monotonic.tv_sec) * INT64_C(1000000000) + (boot.tv_nsec - monotonic.tv_nsec);
  return Napi::BigInt::New(info.Env(), ns);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Connector", Connector::define(env));
  exports.Set("Parser", TestParser::define(env));
  exports.Set("suspendedNs", Napi::Function::New<suspendedNs>(env, "suspendedNs"));
  return exports;
}

NODE_API_MODULE(proc_connector, init)

} // namespace
