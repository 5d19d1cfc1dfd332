// The number of processors that this process may keep busy, as runtime/system/processors.py has it.
#pragma once

namespace mavos {

int usable_processors();

}  // namespace mavos
