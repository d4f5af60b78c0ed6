#include "health/local_redis.h"

namespace azimuth {

std::string_view to_string(OrderKind kind) {
  switch (kind) {
    case OrderKind::kFence:
      return "fence";
    case OrderKind::kFollow:
      return "follow";
    case OrderKind::kLead:
      return "lead";
    case OrderKind::kStand:
      return "stand";
  }
  return "";
}

}  // namespace azimuth
