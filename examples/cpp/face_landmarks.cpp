// Predict the landmarks and the head pose of one face crop.
//
//     face_landmarks MODEL.onnx CROP
//
// MODEL.onnx and MODEL.onnx.json come from `synergy export onnx`. CROP is a binary PPM file (P6) or raw RGB bytes, of the
// size that the description names. The entry "crop" of the description says how crops are cut out of photos.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>

using Bytes = std::vector<std::uint8_t>;

namespace {

constexpr double kDegrees = 180.0 / 3.14159265358979323846;

Bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

nlohmann::json read_description(const std::string& path) {
  const Bytes text = read_file(path);
  const auto description = nlohmann::json::parse(text, nullptr, false);
  if (description.is_discarded()) throw std::runtime_error(path + ": is not JSON");
  if (description.value("format", "") != "synergy-model" || description.value("version", 0) != 1) {
    throw std::runtime_error(path + ": is not the description of a model that this program can read");
  }
  return description;
}

// Return the RGB bytes of a crop of size x size pixels.
Bytes read_crop(const std::string& path, std::size_t size) {
  Bytes content = read_file(path);
  const std::size_t n_bytes = size * size * 3;
  if (content.size() == n_bytes) return content;
  // "P6", width, height and the largest value, separated by white space, and one white-space character before the pixels.
  std::istringstream header(std::string(content.begin(), content.begin() + std::min<std::size_t>(content.size(), 64)));
  std::string kind;
  std::size_t width = 0, height = 0, largest = 0;
  header >> kind >> width >> height >> largest;
  if (!header || kind != "P6" || largest != 255) {
    throw std::runtime_error(path + ": neither a binary PPM file of 8 bits without comments nor " +
                             std::to_string(n_bytes) + " bytes of RGB");
  }
  const std::size_t start = static_cast<std::size_t>(header.tellg()) + 1;
  if (width != size || height != size) {
    throw std::runtime_error(path + ": has " + std::to_string(width) + " x " + std::to_string(height) +
                             " pixels, the model takes crops of " + std::to_string(size) + " x " + std::to_string(size));
  }
  if (content.size() < start + n_bytes) throw std::runtime_error(path + ": is cut short");
  return Bytes(content.begin() + start, content.begin() + start + n_bytes);
}

// Print the angles of a pose matrix [s R | t], 3 x 4 numbers: the entry parameters.angles of the description.
void print_pose(const float* pose) {
  const double scale = std::sqrt(double(pose[0]) * pose[0] + double(pose[1]) * pose[1] + double(pose[2]) * pose[2]);
  const auto rotation = [&](int row, int column) { return pose[4 * row + column] / scale; };
  const double pitch = std::atan2(rotation(1, 2), rotation(2, 2));
  const double yaw = std::asin(std::fmin(std::fmax(-rotation(0, 2), -1.0), 1.0));
  const double roll = std::atan2(rotation(0, 1), rotation(0, 0));
  std::printf("pitch %.4f yaw %.4f roll %.4f\n", pitch * kDegrees, yaw * kDegrees, roll * kDegrees);
}

void predict(const std::string& model, const std::string& crop_path) {
  const auto description = read_description(model + ".json");
  const auto& input = description.at("input");
  const auto size = input.at("shape").at(1).get<std::int64_t>();
  Bytes crop = read_crop(crop_path, static_cast<std::size_t>(size));

  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "face_landmarks");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, std::filesystem::path(model).c_str(), options);

  const std::int64_t shape[] = {1, size, size, 3};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto tensor = Ort::Value::CreateTensor<std::uint8_t>(memory, crop.data(), crop.size(), shape, 4);
  const auto input_name = input.at("name").get<std::string>();
  const char* input_names[] = {input_name.c_str()};
  const char* output_names[] = {"landmarks", "params"};
  const auto outputs = session.Run(Ort::RunOptions{nullptr}, input_names, &tensor, 1, output_names, 2);

  print_pose(outputs[1].GetTensorData<float>());
  const float* landmarks = outputs[0].GetTensorData<float>();
  const auto count = outputs[0].GetTensorTypeAndShapeInfo().GetElementCount() / 3;
  for (std::size_t i = 0; i < count; i++) {
    std::printf("%.4f %.4f %.4f\n", landmarks[3 * i], landmarks[3 * i + 1], landmarks[3 * i + 2]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: face_landmarks MODEL.onnx CROP\n");
    return 2;
  }
  try {
    predict(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
  return 0;
}
