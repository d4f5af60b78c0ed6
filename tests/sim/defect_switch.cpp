#include "tests/sim/defect_switch.h"

namespace azimuth {

namespace {
Defect switched_on = Defect::kNone;
}  // namespace

bool defective(Defect defect) { return defect == switched_on; }

namespace sim {
void switch_on(Defect defect) { switched_on = defect; }
}  // namespace sim

}  // namespace azimuth
