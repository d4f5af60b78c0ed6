// The clock of leases and deadlines: monotonic, and it goes on while the machine sleeps.
//
// CLOCK_BOOTTIME and not CLOCK_MONOTONIC: a lease must not look alive after a suspended laptop or a
// migrated virtual machine wakes up. A vdso call, some twenty nanoseconds. Any thread.
#pragma once

#include <ctime>

#include "conf/instant.h"

namespace azimuth {

inline Instant clock_now() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return {now.tv_sec * 1000 + now.tv_nsec / 1'000'000};
}

}  // namespace azimuth
