#!/bin/sh
# Is the container well? Settings, queue and runner are looked at, and a session with each relay is opened,
# login included. What is wrong is on standard output, which the engine keeps apart from the log; warnings
# such as a certificate that ends soon are no reason to restart anything.
if picorelay check --quiet control spool runner relay; then exit 0; else [ $? = 1 ]; fi
