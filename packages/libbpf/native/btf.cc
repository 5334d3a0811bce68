// See btf.h. Also exports readBtf(path), which reads the BTF of an ELF file or a raw BTF file.
#include "btf.h"
#include "arguments.h"
#include "error.h"
#include "modules.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cerrno>

namespace {

// Integers beyond this do not fit a JavaScript number and are given as BigInt.
constexpr int64_t safeInteger = 9007199254740991;

Napi::Value integer(Napi::Env env, int64_t value, bool isSigned) {
  if (isSigned ? (value >= -safeInteger && value <= safeInteger) : static_cast<uint64_t>(value) <= safeInteger)
    return Napi::Number::New(env, static_cast<double>(value));
  return isSigned ? Napi::BigInt::New(env, value) : Napi::BigInt::New(env, static_cast<uint64_t>(value));
}

void integerType(Napi::Object row, const struct btf_type *type) {
  uint8_t encoding = btf_int_encoding(type);
  row.Set("size", type->size);
  row.Set("bits", btf_int_bits(type));
  row.Set("bitOffset", btf_int_offset(type));
  row.Set("encoding", encoding & BTF_INT_BOOL     ? "bool"
                      : encoding & BTF_INT_CHAR   ? "char"
                      : encoding & BTF_INT_SIGNED ? "signed"
                                                  : "unsigned");
}

void members(Napi::Env env, Napi::Object row, const struct btf *btf, const struct btf_type *type) {
  Napi::Array members = Napi::Array::New(env, btf_vlen(type));
  for (uint32_t i = 0; i < btf_vlen(type); i++) {
    const struct btf_member *from = btf_members(type) + i;
    Napi::Object member = Napi::Object::New(env);
    member.Set("name", btf__name_by_offset(btf, from->name_off));
    member.Set("type", from->type);
    member.Set("bitOffset", btf_member_bit_offset(type, i));
    member.Set("bitfieldSize", btf_member_bitfield_size(type, i));
    members.Set(i, member);
  }
  row.Set("size", type->size);
  row.Set("members", members);
}

void enumerators(Napi::Env env, Napi::Object row, const struct btf *btf, const struct btf_type *type) {
  bool isSigned = btf_kflag(type), wide = btf_is_enum64(type);
  Napi::Array values = Napi::Array::New(env, btf_vlen(type));
  for (uint32_t i = 0; i < btf_vlen(type); i++) {
    Napi::Object value = Napi::Object::New(env);
    if (wide) {
      const struct btf_enum64 *from = btf_enum64(type) + i;
      value.Set("name", btf__name_by_offset(btf, from->name_off));
      value.Set("value", integer(env, static_cast<int64_t>(btf_enum64_value(from)), isSigned));
    } else {
      const struct btf_enum *from = btf_enum(type) + i;
      value.Set("name", btf__name_by_offset(btf, from->name_off));
      value.Set("value", integer(env, isSigned ? from->val : static_cast<uint32_t>(from->val), isSigned));
    }
    values.Set(i, value);
  }
  row.Set("size", type->size);
  row.Set("signed", Napi::Boolean::New(env, isSigned));
  row.Set("wide", Napi::Boolean::New(env, wide));
  row.Set("values", values);
}

void parameters(Napi::Env env, Napi::Object row, const struct btf *btf, const struct btf_type *type) {
  Napi::Array parameters = Napi::Array::New(env, btf_vlen(type));
  for (uint32_t i = 0; i < btf_vlen(type); i++) {
    const struct btf_param *from = btf_params(type) + i;
    Napi::Object parameter = Napi::Object::New(env);
    parameter.Set("name", btf__name_by_offset(btf, from->name_off));
    parameter.Set("type", from->type);
    parameters.Set(i, parameter);
  }
  row.Set("returns", type->type);
  row.Set("parameters", parameters);
}

void section(Napi::Env env, Napi::Object row, const struct btf_type *type) {
  Napi::Array variables = Napi::Array::New(env, btf_vlen(type));
  for (uint32_t i = 0; i < btf_vlen(type); i++) {
    const struct btf_var_secinfo *from = btf_var_secinfos(type) + i;
    Napi::Object variable = Napi::Object::New(env);
    variable.Set("type", from->type);
    variable.Set("offset", from->offset);
    variable.Set("size", from->size);
    variables.Set(i, variable);
  }
  row.Set("size", type->size);
  row.Set("variables", variables);
}

// Fills in what the kind has beside its name, and returns the name that it has in BtfType.
const char *fill(Napi::Env env, Napi::Object row, const struct btf *btf, const struct btf_type *type) {
  switch (btf_kind(type)) {
  case BTF_KIND_INT:
    integerType(row, type);
    return "int";
  case BTF_KIND_FLOAT:
    row.Set("size", type->size);
    return "float";
  case BTF_KIND_ARRAY:
    row.Set("element", btf_array(type)->type);
    row.Set("count", btf_array(type)->nelems);
    return "array";
  case BTF_KIND_STRUCT:
    members(env, row, btf, type);
    return "struct";
  case BTF_KIND_UNION:
    members(env, row, btf, type);
    return "union";
  case BTF_KIND_ENUM:
  case BTF_KIND_ENUM64:
    enumerators(env, row, btf, type);
    return "enum";
  case BTF_KIND_FWD:
    row.Set("union", Napi::Boolean::New(env, btf_kflag(type)));
    return "forward";
  case BTF_KIND_FUNC_PROTO:
    parameters(env, row, btf, type);
    return "functionProto";
  case BTF_KIND_DATASEC:
    section(env, row, type);
    return "section";
  default:
    break;
  }
  row.Set("type", type->type);
  switch (btf_kind(type)) {
  case BTF_KIND_PTR:
    return "pointer";
  case BTF_KIND_TYPEDEF:
    return "typedef";
  case BTF_KIND_VOLATILE:
    return "volatile";
  case BTF_KIND_CONST:
    return "const";
  case BTF_KIND_RESTRICT:
    return "restrict";
  case BTF_KIND_FUNC:
    return "function";
  case BTF_KIND_VAR:
    row.Set("linkage", btf_var(type)->linkage);
    return "variable";
  case BTF_KIND_DECL_TAG:
    return "declTag";
  case BTF_KIND_TYPE_TAG:
    return "typeTag";
  default:
    return "unknown";
  }
}

Napi::Value readBtf(const Napi::CallbackInfo &info) {
  std::string path = stringArgument(info, 0);
  LogCapture log;
  struct btf *btf = btf__parse(path.c_str(), nullptr);
  if (btf == nullptr)
    throw callError(info.Env(), "btf__parse", errno, &log);
  Napi::Array types;
  try {
    types = btfToArray(info.Env(), btf);
  } catch (...) {
    btf__free(btf);
    throw;
  }
  btf__free(btf);
  return types;
}

} // namespace

Napi::Array btfToArray(Napi::Env env, const struct btf *btf) {
  Napi::Array types = Napi::Array::New(env);
  if (btf == nullptr)
    return types;
  for (uint32_t id = 0; id < btf__type_cnt(btf); id++) {
    Napi::HandleScope scope(env);
    Napi::Object row = Napi::Object::New(env);
    row.Set("id", id);
    if (id == 0) {
      row.Set("kind", "void");
    } else {
      const struct btf_type *type = btf__type_by_id(btf, id);
      row.Set("name", btf__name_by_offset(btf, type->name_off));
      row.Set("kind", fill(env, row, btf, type));
    }
    types.Set(id, row);
  }
  return types;
}

void addBtf(Napi::Env env, Napi::Object exports) {
  exports.Set("readBtf", Napi::Function::New<readBtf>(env, "readBtf"));
}
