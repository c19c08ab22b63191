#!/bin/sh
# Installs mqtt.js as package-lock.json pins it.
set -eu
cd "$(dirname "$0")"
npm ci --no-fund --no-audit
