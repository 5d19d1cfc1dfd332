# Builds for 64-bit Arm on another processor, and runs the tests in qemu's user mode.
# On Debian: apt-get install g++-aarch64-linux-gnu qemu-user-static
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# Only the compiler's own libraries are for Arm; nlohmann/json, headers alone, is for all.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# What programs see as / in the emulator, before the real one. ONNX Runtime crashes when it is
# loaded on Arm and /proc/cpuinfo tells of another kind of processor.
set(root "${CMAKE_BINARY_DIR}/root")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L "${root}")
file(MAKE_DIRECTORY "${root}/proc")
file(CREATE_LINK /usr/aarch64-linux-gnu/lib "${root}/lib" SYMBOLIC)
file(WRITE "${root}/proc/cpuinfo" "processor\t: 0
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

")
