#!/bin/sh
# Installs mqtt.js as package-lock.json pins it.
set -eu
cd "$(dirname "$0")"
# A part of it must not look like all.
npm ci --no-fund --no-audit || { rm -rf node_modules; exit 1; }
