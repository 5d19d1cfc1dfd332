#include "safetensors.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <vector>

#include "record.h"

namespace mavos {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr const char* kMetadataKey = "__metadata__";
constexpr uint64_t kLargestHeader = 100'000'000;  // bytes; the limit of the format's own library

struct Dtype {
  Type type;
  const char* name;
};
// In the order in which the format's own library writes tensors.
constexpr Dtype kDtypes[] = {{Type::float32, "F32"},
                             {Type::int32, "I32"},
                             {Type::float16, "F16"},
                             {Type::uint8, "U8"}};

size_t rank_of(Type type) {
  return static_cast<size_t>(
      std::find_if(std::begin(kDtypes), std::end(kDtypes),
                   [type](const Dtype& dtype) { return dtype.type == type; }) -
      std::begin(kDtypes));
}

struct Entry {
  std::string name;
  Tensor tensor;
  uint64_t begin;
  uint64_t end;
};

Entry entry(const std::string& name, const Place& place) {
  Entry found{name, {}, 0, 0};
  const std::string dtype = place["dtype"].text();
  const auto* known = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const Dtype& own) { return dtype == own.name; });
  if (known == std::end(kDtypes)) place.refuse("no state has the type " + dtype.substr(0, 40));
  found.tensor.type = known->type;
  const Place shape = place["shape"];
  constexpr int64_t most = int64_t{1} << 40;
  int64_t count = static_cast<int64_t>(bytes_of(known->type));
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const int64_t extent = shape.item(axis).integer(0, most);
    if (extent > 0 && count > most / extent) place.refuse("it is too large");
    count *= extent;
    found.tensor.shape.push_back(extent);
  }
  const Place offsets = place["data_offsets"];
  if (offsets.size() != 2) offsets.refuse("expected `array` of length 2");
  found.begin = static_cast<uint64_t>(offsets.item(0).integer(0, most));
  found.end = static_cast<uint64_t>(offsets.item(1).integer(0, most));
  if (found.end < found.begin || found.end - found.begin != static_cast<uint64_t>(count)) {
    place.refuse("its offsets don't fit its shape");
  }
  return found;
}

std::vector<Entry> read_header(const json& header, uint64_t data_size, TensorFile& file) {
  const Place place(header);
  std::vector<Entry> entries;
  for (const auto& item : place.object().items()) {
    const Place value = place[item.key()];
    if (item.key() != kMetadataKey) {
      entries.push_back(entry(item.key(), value));
      continue;
    }
    for (const auto& text : value.object().items()) {
      file.metadata[text.key()] = value[text.key()].text();
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (const Entry& own : entries) {
    if (own.begin != at) throw Reason("tensors leave a gap or overlap at `" + own.name + "`");
    at = own.end;
  }
  if (at != data_size) throw Reason("its tensors end at another place than the file");
  return entries;
}

}  // namespace

TensorFile read_tensors(const fs::path& path) {
  const uint64_t size = fs::file_size(path);
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    const std::error_code code(errno ? errno : EIO, std::generic_category());
    throw fs::filesystem_error("it can't be opened", path, code);
  }
  const auto read = [&stream](void* to, uint64_t count) {
    stream.read(static_cast<char*>(to), static_cast<std::streamsize>(count));
    if (static_cast<uint64_t>(stream.gcount()) != count) throw Reason("it ends too early");
  };
  uint8_t raw[8] = {};
  if (size < sizeof(raw)) throw Reason("it is too short");
  read(raw, sizeof(raw));
  uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | raw[i];
  if (header_size > kLargestHeader || header_size > size - sizeof(raw)) {
    throw Reason("its header is too large");
  }
  std::string text(header_size, '\0');
  read(text.data(), header_size);
  TensorFile file;
  const json header = parse_json(text);
  for (Entry& own : read_header(header, size - sizeof(raw) - header_size, file)) {
    auto bytes = std::make_shared<std::vector<uint8_t>>(own.end - own.begin);
    read(bytes->data(), bytes->size());
    own.tensor.data = std::shared_ptr<const void>(bytes, bytes->data());
    file.tensors[own.name] = std::move(own.tensor);
  }
  return file;
}

std::string tensor_bytes(const TensorFile& file) {
  std::vector<const Tensors::value_type*> sorted;
  for (const auto& item : file.tensors) sorted.push_back(&item);
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return rank_of(a->second.type) < rank_of(b->second.type);
  });
  ordered_json header;
  header[kMetadataKey] = file.metadata;
  uint64_t at = 0;
  for (const auto* item : sorted) {
    const Tensor& tensor = item->second;
    ordered_json own;
    own["dtype"] = kDtypes[rank_of(tensor.type)].name;
    own["shape"] = tensor.shape;
    own["data_offsets"] = {at, at + tensor.bytes()};
    header[item->first] = own;
    at += tensor.bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes;
  bytes.reserve(8 + text.size() + at);
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(text.size() >> (8 * i) & 0xFF);
  bytes += text;
  for (const auto* item : sorted) {
    const auto* data = static_cast<const char*>(item->second.host());
    bytes.append(data, item->second.bytes());
  }
  return bytes;
}

}  // namespace mavos
