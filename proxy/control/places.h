// Zone and region, where the settings name a variable or a file instead (conf/place.h): reads it.
//
// Owned by whoever parses settings: at the start, and the control thread at a reload.
#pragma once

#include "conf/settings.h"

namespace azimuth {

// Puts the names that are found into result.settings; what is wrong becomes an error at the place
// of the key. Where the settings have errors already, nothing is read.
void read_places(SettingsResult& result);

}  // namespace azimuth
