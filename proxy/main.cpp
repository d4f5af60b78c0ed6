#include "proxy/cli.h"

int main(int argc, char** argv) { return azimuth::run_cli(argc, argv); }
