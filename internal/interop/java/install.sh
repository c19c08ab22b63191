#!/bin/sh
# Compiles the Java programs to target/classes and copies what they need, as the poms pin it, to target/dependency.
set -eu
cd "$(dirname "$0")"
for p in brokers clients kafka quic; do
	# A part of them must not look like all.
	mvn -q -B -f "$p/pom.xml" compile dependency:copy-dependencies -DincludeScope=runtime || { rm -rf "$p/target/dependency"; exit 1; }
done
