#!/bin/sh
# Installs the Python clients of requirements.txt in a virtual environment beside it.
set -eu
cd "$(dirname "$0")"
python3 -m venv .venv
# A part of them must not look like all.
.venv/bin/pip install --quiet --retries 5 -r requirements.txt || { rm -rf .venv; exit 1; }
