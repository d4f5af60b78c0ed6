// The one defect of health/defects.h that is on. Owned by the simulator, which has one thread.
#pragma once

#include "health/defects.h"

namespace azimuth::sim {

void switch_on(Defect defect);

}  // namespace azimuth::sim
