// Tests of the parts that need no bundle; those with bundles compare with Python, in
// tests/runtime/cpp.

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <string>

#include "contract.h"
#include "encoded.h"
#include "engines.h"
#include "error.h"
#include "geometry.h"
#include "objects.h"
#include "reach.h"
#include "record.h"
#include "resize.h"
#include "safetensors.h"
#include "sha256.h"
#include "specs.h"

namespace {

int failures = 0;

void check(bool holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "unit.cpp:%d: %s\n", line, what);
}
#define CHECK(condition) check((condition), #condition, __LINE__)

std::string refusal(const std::function<void()>& function) {
  try {
    function();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void test_sha256() {
  // FIPS 180-4's examples, and a text that ends where the length no longer fits the block.
  CHECK(mavos::sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(mavos::sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(mavos::sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  mavos::Sha256 parts;
  for (int i = 0; i < 1000; ++i) parts.update("0123456789", 10);
  std::string whole;
  for (int i = 0; i < 1000; ++i) whole += "0123456789";
  CHECK(parts.hex_digest() == mavos::sha256(whole));
}

// Labels of a decoder at 1080p whose object covers the first columns of 48.
mavos::Tensors decoded(int64_t groups, int64_t columns) {
  mavos::Draft<uint8_t> small(mavos::Type::uint8, {groups, 27, 48});
  for (int64_t i = 0; i < groups * 27 * 48; ++i) small.data()[i] = i % 48 < columns;
  const mavos::Tensor labels{mavos::Type::uint8, {1, 1080, 1920}, nullptr};
  return {{"input_labels", small.done()}, {"labels", labels}};
}

void test_reach() {
  const auto given = [](int64_t groups) {
    const mavos::Tensor mask{mavos::Type::float32, {groups, 4}, nullptr};
    return mavos::Tensors{{"object_mask", mask}};
  };
  const int64_t one = 1080 * 1920 / 48 * (4 * 4 + 8);  // bytes for each column
  mavos::Reach grows(1);
  int64_t waste = 0;
  for (int64_t columns = 0; columns <= 6; ++columns) {
    grows.take(given(1), decoded(1, columns));
    waste += columns ? (columns - 1) * one : 0;
    CHECK(grows.wasteful() == (waste > 8 << 20));
  }
  CHECK(grows.wasteful());
  mavos::Reach steady(1);
  for (int i = 0; i < 100; ++i) steady.take(given(1), decoded(1, 48));
  CHECK(!steady.wasteful());
  mavos::Reach banded(16);
  for (int64_t columns = 0; columns <= 6; ++columns) banded.take(given(1), decoded(1, columns));
  CHECK(!banded.wasteful());
  mavos::Reach constant(0);
  for (int64_t columns = 0; columns <= 48; ++columns) constant.take(given(1), decoded(1, columns));
  CHECK(!constant.wasteful());
  mavos::Reach several(1);
  for (int64_t columns = 0; columns <= 48; ++columns) several.take(given(2), decoded(2, columns));
  CHECK(!several.wasteful());
}

void test_sizes() {
  using mavos::Size;
  CHECK(mavos::snap_size({480, 854}, true) == (Size{481, 849}));
  CHECK(mavos::snap_size({24, 40}, false) == (Size{32, 32}));  // halves go to the even k
  CHECK(mavos::network_size({1080, 1920}, true) == (Size{577, 1041}));
  CHECK(holds(refusal([] { mavos::check_size({480, 849}, true); }), "nearest size is 481x849"));
  CHECK(holds(refusal([] { mavos::network_size({7, 100}, true); }), "a side is shorter than 8"));
  CHECK(mavos::parse_size("0481x849") == (Size{481, 849}));
  for (const char* text : {"", "481", "481x", "x849", "481x849x3", "0x5", "-1x4", "100000x1"}) {
    CHECK(!refusal([text] { mavos::parse_size(text); }).empty());
  }
}

void test_python_json() {
  const auto written = [](const char* text) {
    return mavos::python_json(nlohmann::ordered_json::parse(text));
  };
  CHECK(written(R"({"b":[1,2.0,true,null],"a":"x"})") == R"({"b": [1, 2.0, true, null], "a": "x"})");
  CHECK(written("[0.1,1e-5,0.0001,1e16,123456789012345680.0,1.5e300,-2.5]") ==
        "[0.1, 1e-05, 0.0001, 1e+16, 1.2345678901234568e+17, 1.5e+300, -2.5]");
  CHECK(written("[\"\\u00e4\\n\"]") == "[\"\\u00e4\\n\"]");
}

void test_records() {
  const auto data = mavos::parse_json(R"({"a": {"b": [1, "x", 9223372036854775808]}})");
  const auto list = mavos::Place(data)["a"]["b"];
  CHECK(list.item(0).integer(0, 3) == 1);
  CHECK(holds(refusal([&] { list.item(1).integer(); }), "`a.b[1]`: expected `int`, got \"x\""));
  CHECK(holds(refusal([&] { list.item(2).integer(); }), "`a.b[2]`: expected `int` from"));
  CHECK(holds(refusal([&] { list["key"]; }), "expected `object`"));
  const mavos::Place top(data);
  CHECK(holds(refusal([&] { top["c"]; }), "`c` is missing"));
  CHECK(holds(refusal([] { mavos::parse_json(R"({"a": 1, "a": 2})"); }), "'a' twice"));
  CHECK(holds(refusal([] { mavos::parse_json("[NaN]"); }), "not valid JSON"));
  CHECK(holds(refusal([] { mavos::check_version({{"format_version", 2}}, 1); }), "update mavos"));
  const std::string deep(1000000, '[');
  CHECK(holds(refusal([&] { mavos::parse_json(deep); }), "not valid JSON"));
}

void test_objects() {
  mavos::Ids ids = {7};
  const uint8_t annotation[] = {0, 9, 7, 3};
  const auto internal = mavos::number_objects(ids, annotation, 4);
  CHECK((ids == mavos::Ids{7, 3, 9}));
  CHECK((internal == mavos::Labels{0, 3, 1, 2}));
  const auto own = [](const mavos::Ids& known) {
    const uint8_t labels[] = {0, 1, 2, 3};
    mavos::Labels out(4);
    mavos::write_own_ids(known, labels, out.size(), out.data());
    return out;
  };
  CHECK((own({1, 2, 3}) == mavos::Labels{0, 1, 2, 3}));
  CHECK((own({7, 3, 9}) == mavos::Labels{0, 7, 3, 9}));
  CHECK((own({1, 2}) == mavos::Labels{0, 1, 2, 0}));
  CHECK((own({2, 1}) == mavos::Labels{0, 2, 1, 0}));
  const auto mask = mavos::object_mask(12, 2, {3});
  CHECK(mask[2] == 0 && mask[3] == mavos::contract::kUnusedObject);
  CHECK(mask[11 + 2] == 0 && mask[11 + 3] == mavos::contract::kUnusedObject);
}

struct NoBackend : mavos::Backend {
  mavos::Tensors run(const std::string&, const mavos::Tensors&) override { return {}; }
  const std::string& name() const override { return none; }
  bool any_shape() const override { return false; }
  bool concurrent() const override { return false; }
  std::string none;
};

void test_features_are_taken_once_and_by_their_maker() {
  const auto maker = std::make_shared<const NoBackend>();
  const auto other = std::make_shared<const NoBackend>();
  mavos::Encoded encoded({{"feature", {}}}, maker);
  CHECK(!encoded.take(other));
  const auto taken = encoded.take(maker);
  CHECK(taken && taken->count("feature") == 1);
  CHECK(!encoded.take(maker));
}

void test_features_are_not_for_a_later_backend_at_the_same_address() {
  alignas(NoBackend) unsigned char place[sizeof(NoBackend)];
  const auto made = [&place] {
    return std::shared_ptr<const NoBackend>(new (place) NoBackend,
                                            [](const NoBackend* it) { it->~NoBackend(); });
  };
  auto backend = made();
  mavos::Encoded encoded({{"feature", {}}}, backend);
  backend.reset();
  CHECK(!encoded.take(made()));
}

void test_engines() {
  mavos::Engine engine;
  engine.graph = "step";
  engine.graph_sha256 = "hash";
  engine.library = "tensorrt";
  engine.version = "10.3.0";
  engine.capability = "8.7";
  const mavos::Wanted wanted{"bundle", "step", "hash"};
  const auto misfit = [&](const std::string& version, const std::string& capability = "8.7",
                          const std::string& gpu = "Orin") {
    return refusal([&] { mavos::choose({engine}, wanted, {"tensorrt", version, capability, gpu}); });
  };
  CHECK(misfit("10.3.0").empty());
  CHECK(misfit("10.3.0.26").empty());  // the build's number, which the engine doesn't tell
  CHECK(holds(misfit("10.3.1"), "built by tensorrt 10.3.0 and can't be loaded by 10.3.1"));
  CHECK(holds(misfit("10.3"), "can't be loaded"));
  CHECK(holds(misfit("10.3.0", "8.6"), "compute capability 8.6 (built for: 8.7)"));
  engine.version_compatible = true;
  CHECK(misfit("10.13.0").empty());  // numbers, not texts
  CHECK(holds(misfit("10.2.99999999999999999999"), "can't be loaded"));
  engine.gpu = "Thor";
  CHECK(holds(misfit("10.3.0"), "on Thor, with kernels for that, and this is Orin"));
  engine.hardware_compatible = "ampere-plus";
  CHECK(misfit("10.3.0", "12.0").empty());
  CHECK(!misfit("10.3.0", "7.5").empty());
  mavos::Engine own = engine;
  own.capability = "12.0";
  const mavos::Machine machine{"tensorrt", "10.3.0", "12.0", "RTX"};
  CHECK(mavos::choose({engine, own}, wanted, machine).capability == "12.0");
  engine.profiles = {{{"key", {{1, 4}, {2, 4}}}}};
  const auto refused = [&](const mavos::Shape& shape) {
    const mavos::Tensors inputs = {{"key", {mavos::Type::float32, shape}}};
    return refusal([&] { mavos::check_shapes(engine, inputs, "bundle"); });
  };
  CHECK(refused({2, 4}).empty());
  CHECK(holds(refused({3, 4}), "takes key from 1x4 to 2x4, not 3x4"));
  CHECK(!refused({1}).empty());
}

void test_output_shapes() {
  using Dims = std::vector<mavos::Dim>;
  const Dims frame = {int64_t{1}, "height", "width", int64_t{3}};
  const Dims feature = {"groups", int64_t{8}, "height_4", "width_16"};
  const mavos::GraphSpec spec{"graph",
                              {{"frame", "float32", frame}, {"flags", "int32", {"groups"}}},
                              {{"feature", "float32", feature}}};
  const mavos::Tensors inputs = {{"frame", {mavos::Type::float32, {1, 97, 129, 3}}},
                                 {"flags", {mavos::Type::int32, {2}}}};
  CHECK(mavos::output_shapes(spec, inputs).at(0) == (mavos::Shape{2, 8, 25, 9}));
}

void test_a_tensor_on_a_device_is_read_through_its_host_copy() {
  struct Fetched : mavos::OnDevice {
    const void* host() const override { return values; }
    float values[2] = {3, 4};
  };
  const mavos::Tensor there{mavos::Type::float32, {2}, nullptr, std::make_shared<Fetched>()};
  CHECK(there.as<float>()[1] == 4);
  const auto read = mavos::tensor_bytes({{{"a", there}}, {}});
  const float last = 4;
  CHECK(read.compare(read.size() - 4, 4, reinterpret_cast<const char*>(&last), 4) == 0);
}

void test_resize_of_a_constant() {
  const std::vector<uint8_t> grey(37 * 53 * 3, 200);
  const mavos_image image{grey.data(), 37, 53, 0, MAVOS_RGB8};
  const auto resized = mavos::resize_frame(image, {33, 49});
  for (int64_t i = 0; i < mavos::elements(resized.shape); ++i) {
    CHECK(std::abs(resized.as<float>()[i] - 200.0F) < 1e-3F);
  }
}

// Whatever bytes a file holds, it is read or refused.
void test_tensor_files() {
  namespace fs = std::filesystem;
  const fs::path path = fs::temp_directory_path() / ("mavos-unit-" + std::to_string(::rand()));
  mavos::Draft<float> values(mavos::Type::float32, {2, 3});
  values.data()[5] = 4;
  mavos::Draft<uint8_t> levels(mavos::Type::uint8, {5});
  const mavos::TensorFile file{{{"a", levels.done()}, {"b", values.done()}}, {{"key", "text"}}};
  const std::string good = mavos::tensor_bytes(file);
  const auto read = [&path](const std::string& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return mavos::read_tensors(path);
  };
  const auto again = read(good);
  CHECK(again.metadata.at("key") == "text");
  CHECK(again.tensors.at("b").as<float>()[5] == 4);
  CHECK(mavos::tensor_bytes(again) == good);
  for (size_t size = 0; size < good.size(); ++size) {
    CHECK(!refusal([&] { read(good.substr(0, size)); }).empty());
  }
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    std::string bad = good;
    for (auto changes = random() % 3 + 1; changes > 0; --changes) {
      bad[random() % bad.size()] = static_cast<char>(random());
    }
    refusal([&] { read(bad); });
  }
  fs::remove(path);
}

}  // namespace

int main() {
  test_sha256();
  test_reach();
  test_sizes();
  test_python_json();
  test_records();
  test_objects();
  test_features_are_taken_once_and_by_their_maker();
  test_features_are_not_for_a_later_backend_at_the_same_address();
  test_engines();
  test_output_shapes();
  test_a_tensor_on_a_device_is_read_through_its_host_copy();
  test_resize_of_a_constant();
  test_tensor_files();
  if (failures == 0) std::puts("all hold");
  return failures == 0 ? 0 : 1;
}
