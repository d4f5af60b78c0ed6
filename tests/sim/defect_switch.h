// The one defect of conf/defects.h that is on. Owned by the simulator, which has one thread.
#pragma once

#include "conf/defects.h"

namespace azimuth::sim {

void switch_on(Defect defect);

}  // namespace azimuth::sim
