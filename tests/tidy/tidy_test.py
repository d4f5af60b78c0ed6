#!/usr/bin/python3
"""The house rules that a program can check. Each check is a function named check_*; adding one is adding a
function. A finding fails the test; a warning is printed and does not.

usage: tidy_test.py [--azimuth BINARY] [--build BUILD-DIRECTORY]
Without a binary or a build directory the checks that need one are left out (and say so).
"""

import argparse
import ast
import functools
import json
import os
import pathlib
import re
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
OWN_DIRECTORY = pathlib.Path(__file__).resolve().parent

ROOMS = ["conf", "session", "router", "health", "proxy"]  # each includes only itself and its left
PURE_ROOMS = ROOMS[:-1]

# Standard headers through which nothing of the world can be reached (what <cstdio> and <cstdlib> still
# offer is caught by WORLDLY). A header that is not here may be added if that holds for it.
PURE_HEADERS = set("""
    algorithm array bit bitset cassert cctype cerrno cfloat charconv cinttypes climits cmath compare concepts
    cstddef cstdint cstdio cstdlib cstring deque exception functional initializer_list iterator limits list
    map memory new numbers numeric optional queue ranges ratio set source_location span stack stdexcept
    string string_view tuple type_traits unordered_map unordered_set utility variant vector version
""".split())

# Libraries of a single file: what parses TOML is not what the rest of the settings depends on.
CONFINED_LIBRARIES = {"toml++": "conf/settings_document.cpp"}

WORLDLY = re.compile(
    r"\b(?:(?:system|steady|high_resolution|utc|file)_clock|thread_local|random_device|mt19937(?:_64)?"
    r"|c(?:out|err|log|in)\b(?=\s*(?:<<|>>))"
    r"|(?:s?rand(?:om)?|drand48|getenv|secure_getenv|setenv|system|v?f?printf|f?puts|f?putc|putchar"
    r"|fopen|fdopen|freopen|fread|fwrite|f?getc|fgets|scanf|perror|tmpfile|getchar)\s*\()")
MUTABLE_GLOBAL = re.compile(
    r"^\s*(?:static|inline)\s+(?!.*\b(?:const|constexpr|consteval|namespace|constinit)\b)[^()]*(?:=|;|\{)")

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

INVARIANTS_IN_FORCE = ["I6", "I7", "I8", "I9"]

# Written in pieces, so that this file does not contain what it looks for.
REGISTRY_HOSTS = [".".join(pieces) for pieces in (
    ("registry", "npmjs", "org"), ("registry", "yarnpkg", "com"), ("pypi", "org"),
    ("files", "pythonhosted", "org"), ("deb", "debian", "org"), ("deb", "nodesource", "com"),
    ("docker", "io"), ("ghcr", "io"), ("gcr", "io"), ("crates", "io"), ("proxy", "golang", "org"))]
MACHINE_PATH = re.compile(r"(?<![\w}])/(?:(?:work|root)/\w|home/\w+/|tmp/" + r"az\b)")

findings = []
warnings = []


def find(where, what):
    findings.append(f"{where}: {what}")


def warn(where, what):
    warnings.append(f"{where}: {what}")


def relative(path):
    return str(path.relative_to(REPOSITORY))


@functools.cache
def project_files():
    """What is in the repository or would be: tracked, and untracked but not ignored."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"], capture_output=True)
    if listing.returncode == 0:
        names = listing.stdout.decode().split("\0")
        paths = [REPOSITORY / name for name in names if name]
    else:  # an unpacked archive
        paths = [path for path in REPOSITORY.rglob("*")
                 if not {"build", ".git", "node_modules", "__pycache__"} & set(path.relative_to(REPOSITORY).parts)]
    return sorted(path for path in set(paths) if path.is_file() and not path.is_symlink())


@functools.cache
def text_of(path):
    data = path.read_bytes()
    return None if b"\0" in data else data.decode(errors="replace")


def sources(rooms, suffixes=(".h", ".cpp", ".inc")):
    return [path for path in project_files()
            if path.relative_to(REPOSITORY).parts[0] in rooms and path.suffix in suffixes]


def without_comments_and_strings(text):
    def blank(match):
        return "\n" * match[0].count("\n") + ('""' if match[0][0] in "\"'R" else " ")
    return re.sub(r'R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])\'|//[^\n]*|/\*.*?\*/',
                  blank, text, flags=re.S)


def check_include_law():
    """A folder includes only from itself and from folders to its left."""
    for path in sources(ROOMS):
        room = path.relative_to(REPOSITORY).parts[0]
        allowed = ROOMS[:ROOMS.index(room) + 1]
        for number, line in enumerate(text_of(path).splitlines(), 1):
            include = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
            if not include:
                continue
            where, name = f"{relative(path)}:{number}", include[2]
            if include[1] == '"':
                if name.split("/")[0] not in allowed:
                    find(where, f"{room}/ may include only from {', '.join(allowed)}, by the path from the root: {name}")
                elif not (REPOSITORY / name).is_file():
                    find(where, f"includes what is not there: {name}")
                continue
            library = name.split("/")[0]
            if library in CONFINED_LIBRARIES:
                if relative(path) != CONFINED_LIBRARIES[library]:
                    find(where, f"{library} belongs into {CONFINED_LIBRARIES[library]} alone")
            elif room in PURE_ROOMS and name not in PURE_HEADERS:
                find(where, f"{room}/ does not touch the world, and <{name}> is not in tidy's list of pure headers")


def check_purity():
    """No clock, randomness, environment, output or mutable global outside proxy/."""
    for path in sources(PURE_ROOMS):
        lines = without_comments_and_strings(text_of(path)).splitlines()
        for number, line in enumerate(lines, 1):
            worldly = WORLDLY.search(line)
            # The last words of a broken invariant are allowed.
            if worldly and not ("stderr" in line and any("abort()" in next for next in lines[number:number + 3])):
                find(f"{relative(path)}:{number}", f"only proxy/ touches the world: {worldly[0]}")
            if MUTABLE_GLOBAL.match(line):
                find(f"{relative(path)}:{number}", f"a global that can change: {line.strip()}")


def check_headers_open_with_what_they_are():
    for path in sources(ROOMS, (".h",)):
        text = text_of(path)
        if not text.startswith("//"):
            find(relative(path), "a header opens with a comment that says what it is")
        if "#pragma once" not in text:
            find(relative(path), "#pragma once is missing")
        opening = re.match(r"(?://[^\n]*\n)*", text)[0]
        if not re.search(r"\bpure\b|\bown(?:ed|s|er|ing)?\b|\bthread|\bcontrol\b", opening, re.I):
            warn(relative(path), "the header's opening says neither \"Pure.\" nor who owns it")


def check_lengths():
    for path in project_files():
        if path.suffix not in (".h", ".cpp", ".py", ".sh", ".mjs"):
            continue
        lines = text_of(path).splitlines()
        if len(lines) > FILE_LINES_MAX:
            warn(relative(path), f"{len(lines)} lines (about {FILE_LINES_MAX} are good)")
        for name, first, length in functions(path, lines):
            if length > FUNCTION_LINES_MAX:
                warn(f"{relative(path)}:{first}", f"{name} has {length} lines (about {FUNCTION_LINES_MAX} are good)")


def functions(path, lines):
    """(name, first line, length) of each function, going by clang-format's indentation."""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.name, node.lineno, node.end_lineno - node.lineno + 1
        return
    if path.suffix not in (".h", ".cpp"):
        return
    open_at = {}
    for number, line in enumerate(lines, 1):
        head = re.match(r"( {0,2})(?! )[^#/}].*\{$", line)
        if head and not re.match(r"\s*(?:namespace|struct|class|enum|union|extern|switch|for|while|if|else|do)\b|.*=\s*\{$|.*\[[\w&=, *]*\]\(", line):
            open_at[head[1]] = (line.strip().rstrip("{ "), number)
        end = re.match(r"( {0,2})\};?$", line)
        if end and end[1] in open_at:
            name, first = open_at.pop(end[1])
            yield name, first, number - first + 1


def check_readme_in_each_folder():
    folders = {path.parent for path in project_files()}
    wanted = [REPOSITORY] + [REPOSITORY / room for room in ROOMS] + [
        folder for folder in folders
        if folder.parent in (REPOSITORY / "proxy", REPOSITORY / "tests", REPOSITORY / "examples")
        and len(folder.relative_to(REPOSITORY).parts) == 2]
    wanted += [REPOSITORY / "tests", REPOSITORY / "examples"]
    for folder in sorted(set(wanted)):
        # Unit tests mirror the rooms, whose README speaks for them; the rest of tests/ explains itself.
        mirror = folder.parent == REPOSITORY / "tests" and folder.name in ROOMS + ["cmake", "fuzz", "clients"]
        if not mirror and not (folder / "README.md").is_file():
            find(folder.relative_to(REPOSITORY), "README.md is missing")


def check_nothing_of_this_machine():
    hosts = re.compile(r"(?<![\w.-])(?:[\w-]+\.)*(?:" + "|".join(map(re.escape, REGISTRY_HOSTS)) + r")(?![\w-])")
    for path in project_files():
        text = text_of(path)
        for number, line in enumerate((text or "").splitlines(), 1):
            for pattern, what in ((MACHINE_PATH, "a path of one machine"), (hosts, "a package registry's host")):
                match = pattern.search(line)
                if match:
                    find(f"{relative(path)}:{number}", f"{what}: {match[0]}")


def check_scripts_run():
    for path in project_files():
        text = text_of(path)
        if not text or not text.startswith("#!"):
            continue
        if not os.access(path, os.X_OK):
            find(relative(path), "starts with #! and is not executable")
        shell = re.match(r"#!/bin/(ba)?sh", text)
        if shell:
            result = subprocess.run([shell[0][2:], "-n", str(path)], capture_output=True, text=True)
            if result.returncode != 0:
                find(relative(path), result.stderr.strip())


def check_invariants_are_named():
    for invariant in INVARIANTS_IN_FORCE:
        named = any(re.search(rf"\b{invariant}\b", text_of(path) or "") for path in project_files()
                    if path.relative_to(REPOSITORY).parts[0] == "tests" and OWN_DIRECTORY not in path.parents
                    and re.search(r"_(?:test|fuzz)\.", path.name))
        if not named:
            find("tests", f"no test names invariant {invariant}")


def check_tests_are_registered(build):
    """Every *_test file is run by ctest; every fuzz target has a corpus that is kept."""
    listing = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], capture_output=True, text=True)
    commands = [word for test in json.loads(listing.stdout)["tests"] for word in test.get("command", [])]
    compiled = {entry["file"] for entry in json.loads((pathlib.Path(build) / "compile_commands.json").read_text())}
    cmake = text_of(REPOSITORY / "tests/CMakeLists.txt")
    for path in project_files():
        parts = path.relative_to(REPOSITORY).parts
        if parts[0] != "tests":
            continue
        if path.name.endswith("_test.cpp") and str(path) not in compiled:
            find(relative(path), "is compiled into no test program")
        if re.search(r"_test\.(?:py|sh|mjs)$", path.name) and str(path) not in commands:
            if parts[1] == "packaging" and '"Release"' in cmake and "packaging" in cmake:
                continue  # one build type registers them
            find(relative(path), "is registered with no ctest entry")
        if path.name.endswith("_fuzz.cpp"):
            corpus = REPOSITORY / "tests/fuzz/corpus" / path.name[:-len("_fuzz.cpp")]
            if len(parts) != 3 or parts[1] != "fuzz":
                find(relative(path), "fuzz targets live in tests/fuzz")
            elif not corpus.is_dir() or not any(corpus.iterdir()):
                find(relative(path), f"has no corpus in {relative(corpus)}")


def check_settings_are_documented(azimuth):
    """Each field of conf/settings.h is a key of the sample, and each key has a comment above it."""
    printed = subprocess.run([azimuth, "run", "--print-defaults"], capture_output=True, text=True, timeout=60)
    if printed.returncode != 0:
        find("azimuth run --print-defaults", f"exit code {printed.returncode}")
        return
    keys, explained = set(), False
    for line in printed.stdout.splitlines():
        key = re.match(r"#?\s?([a-z][a-z_0-9]*) = ", line)
        if key:
            keys.add(key[1])
            if not explained and "#" not in line[key.end():]:
                find("azimuth run --print-defaults", f"{key[1]} has no explanation")
        explained = line.startswith("# ") and not key
    settings = text_of(REPOSITORY / "conf/settings.h")
    for struct in re.finditer(r"struct (\w+)Settings \{(.*?)\n\};", settings, re.S):
        fields = re.findall(r"^  (?!friend)[\w:<>]+ (\w+)(?: = [^;]+)?;", struct[2], re.M)
        for field in fields:
            if not any(key == field or key.endswith("_" + field) for key in keys):
                find("conf/settings.h", f"{struct[1]}Settings::{field} is in no line of --print-defaults")


def main():
    parser = argparse.ArgumentParser(description="checks the house rules")
    parser.add_argument("--azimuth", help="the binary")
    parser.add_argument("--build", help="a configured build directory")
    arguments = parser.parse_args()
    checks = [check for name, check in globals().items() if name.startswith("check_")]
    count = 0
    for check in checks:
        wants = [name for name in ("azimuth", "build") if name in check.__code__.co_varnames[:check.__code__.co_argcount]]
        if any(getattr(arguments, name) is None for name in wants):
            print(f"left out: {check.__name__} (needs --{' --'.join(wants)})")
            continue
        check(*[getattr(arguments, name) for name in wants])
        count += 1
    for line in warnings:
        print(f"warning: {line}")
    for line in findings:
        print(f"FAILED: {line}")
    print(f"{count} checks, {len(findings)} findings, {len(warnings)} warnings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
