#!/bin/sh
# Compiles the Java programs to target/classes and copies what they need, as pom.xml pins it, to target/dependency.
set -eu
cd "$(dirname "$0")"
mvn -q -B compile dependency:copy-dependencies -DincludeScope=runtime
