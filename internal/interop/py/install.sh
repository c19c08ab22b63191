#!/bin/sh
# Installs the Python clients of requirements.txt in a virtual environment beside it.
set -eu
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/pip install --quiet -r requirements.txt
