// The command line: run, check, dev, status, keygen. It reads arguments and files, and hands over.
// Exit codes: 0, 1 for a fault of the world at run time, 2 for what the user wrote (each error on
// standard error, with its file:line:column where it has one).
#pragma once

namespace azimuth {

int run_cli(int argc, char** argv);

}  // namespace azimuth
