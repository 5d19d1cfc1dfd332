// Written by tools/cpp_contract.py from mavos_deploy.runtime.contract; do not edit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mavos::contract {

inline constexpr int64_t kBlocks = 3;
inline constexpr int64_t kMostBlocks = 64;
inline constexpr int64_t kIdentities = 10;
inline constexpr int64_t kChannels = 11;
inline constexpr int64_t kFewestUsed = 2;
inline constexpr int64_t kVoid = 255;
inline constexpr int64_t kStride = 16;
inline constexpr int64_t kLongestSide = 1040;
inline constexpr int64_t kMaxPixels = 67108864;
inline constexpr int64_t kHighestLevel = 127;
inline constexpr int64_t kMostSlots = 64;
inline constexpr int64_t kExactCopies = 2;
inline constexpr int64_t kFewestLvos = 2;
inline constexpr int64_t kManifestVersion = 1;
inline constexpr int64_t kStateVersion = 1;
inline constexpr float kUnusedObject = -10000.0F;
inline constexpr float kEmptySlot = -10000.0F;
inline constexpr const char* kManifest = "manifest.json";
inline constexpr const char* kMetadata = "mavos_state";
inline constexpr const char* kReference = "reference";
inline constexpr const char* kShort = "short";
inline constexpr const char* kSlotBias = "slot_bias";
inline constexpr const char* kBandsNote = "mavos_bands";
inline constexpr const char* kStep = "elstt_step";
inline constexpr const char* kStepOne = "elstt_step_one";
inline constexpr const char* kDecoder = "decoder";
inline constexpr const char* kDecoderOne = "decoder_one";
inline constexpr const char* kMemoryUpdate = "memory_update";

// `real` is the bundle's precision, `memory_values` that or the type of its levels.
enum class Kind { float32, int32, uint8, real, memory_values };
inline constexpr const char* kLevels = "uint8";
inline constexpr const char* kRealFP32 = "float32";
inline constexpr const char* kRealFP16 = "float16";

struct Extent {
  const char* name;  // empty for a number, which is the factor then
  int64_t factor;
};

struct Row {
  const char* name;     // without its slot and its block, where there are several
  Kind kind;
  int first_block;      // -1 for a single tensor
  bool each_slot;
  size_t rank;
  std::array<Extent, 4> shape;
};

struct Graph {
  const char* name;
  const Row* inputs;
  size_t input_count;
  const Row* outputs;
  size_t output_count;
};

inline constexpr std::array<Row, 1> k_encoder_inputs = {{
    {"frame", Kind::float32, -1, false, 4, {{{"", 1}, {"height", 1}, {"width", 1}, {"", 3}}}},
}};

inline constexpr std::array<Row, 4> k_encoder_outputs = {{
    {"feature_4x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_4x", 1}, {"height_4", 1}, {"width_4", 1}}}},
    {"feature_8x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_8x", 1}, {"height_8", 1}, {"width_8", 1}}}},
    {"feature_16x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_16x", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"embedding", Kind::real, -1, false, 4, {{{"", 1}, {"embedding", 1}, {"height_16", 1}, {"width_16", 1}}}},
}};

inline constexpr std::array<Row, 4> k_elstt_step_inputs = {{
    {"embedding", Kind::real, -1, false, 4, {{{"", 1}, {"embedding", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"slot_bias", Kind::float32, -1, false, 2, {{{"groups", 1}, {"slots", 1}}}},
    {"key_", Kind::real, 0, true, 4, {{{"groups", 1}, {"key", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"value_", Kind::memory_values, 0, true, 4, {{{"groups", 1}, {"value", 2}, {"height_16", 1}, {"width_16", 1}}}},
}};

inline constexpr std::array<Row, 4> k_elstt_step_outputs = {{
    {"decoder_embedding", Kind::real, -1, false, 4, {{{"groups", 1}, {"embedding", 2}, {"height_16", 1}, {"width_16", 1}}}},
    {"key_", Kind::real, 0, false, 4, {{{"groups", 1}, {"key", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"visual_value_", Kind::real, 0, false, 4, {{{"groups", 1}, {"value", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"identity_query_", Kind::real, 1, false, 4, {{{"groups", 1}, {"embedding", 1}, {"height_16", 1}, {"width_16", 1}}}},
}};

inline constexpr std::array<Row, 9> k_decoder_inputs = {{
    {"decoder_embedding", Kind::real, -1, false, 4, {{{"groups", 1}, {"embedding", 2}, {"height_16", 1}, {"width_16", 1}}}},
    {"feature_4x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_4x", 1}, {"height_4", 1}, {"width_4", 1}}}},
    {"feature_8x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_8x", 1}, {"height_8", 1}, {"width_8", 1}}}},
    {"feature_16x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_16x", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"object_mask", Kind::float32, -1, false, 2, {{{"groups", 1}, {"channels", 1}}}},
    {"row_weights", Kind::float32, -1, false, 2, {{{"output_height", 1}, {"height_4", 1}}}},
    {"column_weights", Kind::float32, -1, false, 2, {{{"output_width", 1}, {"width_4", 1}}}},
    {"row_index", Kind::int32, -1, false, 1, {{{"height", 1}}}},
    {"column_index", Kind::int32, -1, false, 1, {{{"width", 1}}}},
}};

inline constexpr std::array<Row, 3> k_decoder_outputs = {{
    {"logits", Kind::float32, -1, false, 4, {{{"groups", 1}, {"", 11}, {"height_4", 1}, {"width_4", 1}}}},
    {"labels", Kind::uint8, -1, false, 3, {{{"", 1}, {"output_height", 1}, {"output_width", 1}}}},
    {"input_labels", Kind::uint8, -1, false, 3, {{{"groups", 1}, {"height", 1}, {"width", 1}}}},
}};

inline constexpr std::array<Row, 9> k_decoder_one_inputs = {{
    {"decoder_embedding", Kind::real, -1, false, 4, {{{"", 1}, {"embedding", 2}, {"height_16", 1}, {"width_16", 1}}}},
    {"feature_4x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_4x", 1}, {"height_4", 1}, {"width_4", 1}}}},
    {"feature_8x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_8x", 1}, {"height_8", 1}, {"width_8", 1}}}},
    {"feature_16x", Kind::real, -1, false, 4, {{{"", 1}, {"feature_16x", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"object_mask", Kind::float32, -1, false, 2, {{{"", 1}, {"", 11}}}},
    {"row_weights", Kind::float32, -1, false, 2, {{{"output_height", 1}, {"height_4", 1}}}},
    {"column_weights", Kind::float32, -1, false, 2, {{{"output_width", 1}, {"width_4", 1}}}},
    {"row_index", Kind::int32, -1, false, 1, {{{"height", 1}}}},
    {"column_index", Kind::int32, -1, false, 1, {{{"width", 1}}}},
}};

inline constexpr std::array<Row, 3> k_decoder_one_outputs = {{
    {"logits", Kind::float32, -1, false, 4, {{{"", 1}, {"", 11}, {"height_4", 1}, {"width_4", 1}}}},
    {"labels", Kind::uint8, -1, false, 3, {{{"", 1}, {"output_height", 1}, {"output_width", 1}}}},
    {"input_labels", Kind::uint8, -1, false, 3, {{{"", 1}, {"height", 1}, {"width", 1}}}},
}};

inline constexpr std::array<Row, 3> k_memory_write_inputs = {{
    {"input_labels", Kind::uint8, -1, false, 3, {{{"groups", 1}, {"height", 1}, {"width", 1}}}},
    {"visual_value_", Kind::real, 0, false, 4, {{{"groups", 1}, {"value", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"identity_query_", Kind::real, 1, false, 4, {{{"groups", 1}, {"embedding", 1}, {"height_16", 1}, {"width_16", 1}}}},
}};

inline constexpr std::array<Row, 1> k_memory_write_outputs = {{
    {"value_", Kind::memory_values, 0, false, 4, {{{"groups", 1}, {"value", 2}, {"height_16", 1}, {"width_16", 1}}}},
}};

inline constexpr std::array<Row, 5> k_memory_update_inputs = {{
    {"first_update", Kind::int32, -1, false, 1, {{{"groups", 1}}}},
    {"key_", Kind::real, 0, false, 4, {{{"groups", 1}, {"key", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"value_", Kind::memory_values, 0, false, 4, {{{"groups", 1}, {"value", 2}, {"height_16", 1}, {"width_16", 1}}}},
    {"dynamic_key_", Kind::real, 0, false, 4, {{{"groups", 1}, {"key", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"dynamic_value_", Kind::memory_values, 0, false, 4, {{{"groups", 1}, {"value", 2}, {"height_16", 1}, {"width_16", 1}}}},
}};

inline constexpr std::array<Row, 2> k_memory_update_outputs = {{
    {"updated_key_", Kind::real, 0, false, 4, {{{"groups", 1}, {"key", 1}, {"height_16", 1}, {"width_16", 1}}}},
    {"updated_value_", Kind::memory_values, 0, false, 4, {{{"groups", 1}, {"value", 2}, {"height_16", 1}, {"width_16", 1}}}},
}};

inline constexpr std::array<Graph, 6> kGraphs = {{
    {"encoder", k_encoder_inputs.data(), k_encoder_inputs.size(), k_encoder_outputs.data(), k_encoder_outputs.size()},
    {"elstt_step", k_elstt_step_inputs.data(), k_elstt_step_inputs.size(), k_elstt_step_outputs.data(), k_elstt_step_outputs.size()},
    {"decoder", k_decoder_inputs.data(), k_decoder_inputs.size(), k_decoder_outputs.data(), k_decoder_outputs.size()},
    {"decoder_one", k_decoder_one_inputs.data(), k_decoder_one_inputs.size(), k_decoder_one_outputs.data(), k_decoder_one_outputs.size()},
    {"memory_write", k_memory_write_inputs.data(), k_memory_write_inputs.size(), k_memory_write_outputs.data(), k_memory_write_outputs.size()},
    {"memory_update", k_memory_update_inputs.data(), k_memory_update_inputs.size(), k_memory_update_outputs.data(), k_memory_update_outputs.size()},
}};

}  // namespace mavos::contract
