#!/bin/sh
# What the container starts with: the settings, then the program that is asked for (picorelay run).
set -eu
node /opt/picorelay/settings.mjs
exec "$@"
