#include "processors.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace mavos {

namespace {

namespace fs = std::filesystem;

// The limit of one control group, in processors; a huge number where there is none.
double limit(const fs::path& folder) {
  constexpr double none = 1e9;
  std::string quota;
  double period = 0;
  std::ifstream second(folder / "cpu.max");
  if (second >> quota >> period) {
    return quota != "max" && period > 0 ? std::atof(quota.c_str()) / period : none;
  }
  double first_quota = 0;
  std::ifstream first(folder / "cpu.cfs_quota_us");
  std::ifstream first_period(folder / "cpu.cfs_period_us");
  if (first >> first_quota && first_period >> period && first_quota > 0 && period > 0) {
    return first_quota / period;
  }
  return none;
}

// The smallest grant of the control groups around this process, up to the top of the mount.
double granted() {
  double smallest = 1e9;
  std::ifstream memberships("/proc/self/cgroup");
  std::string line;
  while (std::getline(memberships, line)) {
    const size_t one = line.find(':');
    const size_t two = line.find(':', one + 1);
    if (two == std::string::npos) continue;
    const std::string controllers = "," + line.substr(one + 1, two - one - 1) + ",";
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",cpu,") == std::string::npos) continue;
    const fs::path top = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    fs::path below = fs::path(line.substr(two + 1)).relative_path();
    // A container sees its own group as the root, but may be told the path that the host knows.
    std::error_code code;
    if (!fs::is_directory(top / below, code)) below.clear();
    for (; !below.empty(); below = below.parent_path()) {
      smallest = std::min(smallest, limit(top / below));
    }
    smallest = std::min(smallest, limit(top));
  }
  return smallest;
}

}  // namespace

int usable_processors() {
  int available = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) available = CPU_COUNT(&set);
#endif
  return std::max(1, std::min(available, static_cast<int>(std::ceil(granted()))));
}

}  // namespace mavos
